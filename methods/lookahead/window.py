"""Lookahead's two branches: the window that generates n-grams, and the pool that keeps them.

Source: Fu et al., "Break the Sequential Dependency of LLM Inference Using Lookahead Decoding"
(arXiv 2402.02057). Notation: W columns, N tokens an n-gram, N - 1 levels.
"""

import random
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import torch
from torch import Tensor

NGram = tuple[int, ...]


class Pool:
    """For each token the token sequences seen after it, newest last, at most ``size`` of them."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._after: dict[int, OrderedDict[NGram, None]] = {}

    def add(self, token: int, followers: NGram) -> None:
        """Remember that ``followers`` came after ``token``."""
        kept = self._after.setdefault(token, OrderedDict())
        kept[followers] = None
        kept.move_to_end(followers)
        if len(kept) > self._size:
            kept.popitem(last=False)

    def add_text(self, tokens: Sequence[int], length: int) -> None:
        """Remember every ``length``-gram of a text."""
        for start in range(len(tokens) - length + 1):
            self.add(tokens[start], tuple(tokens[start + 1 : start + length]))

    def after(self, token: int) -> list[NGram]:
        """The sequences to guess after ``token``, newest first."""
        return list(reversed(self._after.get(token, ())))


@dataclass(slots=True)
class Window:
    """N - 1 levels of guessed tokens; once all exist, level 0 has W - 1 tokens, the others W.

    Column 0 of level 0 is the root, which is not stored. Before all levels exist, those that do are
    longer: each new level trims one column off those before it.
    """

    width: int
    ngram: int
    levels: list[list[int]] = field(default_factory=list)

    @classmethod
    def start(cls, prompt: Sequence[int], width: int, ngram: int, seed: int) -> "Window":
        """Level 0 alone: W + N - 3 random tokens of the prompt, one extra per missing level."""
        rng = random.Random(seed)
        return cls(width, ngram, [[rng.choice(prompt) for _ in range(width + ngram - 3)]])

    @property
    def full(self) -> bool:
        """Whether all levels exist, so that a step makes n-grams."""
        return len(self.levels) == self.ngram - 1

    @property
    def tokens(self) -> list[int]:
        """All window tokens in row order, the root not among them."""
        return [token for level in self.levels for token in level]

    def advance(self, root: int, newest: Sequence[int]) -> list[tuple[int, NGram]]:
        """Move the window by one column; returns the completed n-grams as (token, followers).

        ``newest`` are the target's tokens after the rows of the last level; ``root`` the token that
        was column 0 when they ran. A window moves by one column whatever was accepted: entries
        that end up at a wrong position cost hits, never correctness.
        """
        if not self.full:
            # Level 1 gets a token for every token of level 0; later levels drop the column onto
            # which the root moves. So level 0 is always one shorter than the others.
            added = list(newest[1:] if len(self.levels) > 1 else newest)
            self.levels = [level[1:] for level in self.levels] + [added]
            return []
        heads = [root, *self.levels[0]]
        ngrams = [
            (heads[j], (*(level[j] for level in self.levels[1:]), newest[j]))
            for j in range(self.width)
        ]
        self.levels = [self.levels[1][1:], *self.levels[2:], list(newest)]
        return ngrams


@lru_cache(maxsize=64)
def layout(sizes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Mask and positions of window rows, for levels of ``sizes`` tokens.

    Returns visible [R, R] bool among window rows (all of them also see the root) and positions [R]
    relative to the root's. The row of level 0, column j sees columns <= j of level 0; that of
    level l >= 1, column j sees those too, and its own column in levels 1 .. l.
    """
    starts = [sum(sizes[:level]) for level in range(len(sizes))]
    rows = sum(sizes)
    visible = torch.zeros(rows, rows, dtype=torch.bool)
    positions = torch.zeros(rows, dtype=torch.long)
    for level, size in enumerate(sizes):
        for j in range(size):
            row = starts[level] + j
            if level == 0:
                # Row j of level 0 is column j + 1: column 0 is the root.
                visible[row, : j + 1] = True
                positions[row] = j + 1
            else:
                visible[row, :j] = True
                for earlier in range(1, level + 1):
                    visible[row, starts[earlier] + j] = True
                positions[row] = j + level
    return visible, positions
