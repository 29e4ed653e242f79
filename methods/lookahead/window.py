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
    """Token -> the n-grams seen after it, newest last, at most ``size`` of each."""

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
        """N-grams to guess, newest first."""
        return list(reversed(self._after.get(token, ())))


@dataclass(slots=True)
class Window:
    """N-1 levels of guessed tokens; ``levels[0]`` has W - 1, the others W once they exist.

    Column 0 of level 0 is the root itself. While fewer than N - 1 levels exist, level 0 is longer:
    each new level trims one column off those before it.
    """

    width: int
    ngram: int
    levels: list[list[int]] = field(default_factory=list)

    @classmethod
    def start(cls, prompt: Sequence[int], width: int, ngram: int, seed: int) -> "Window":
        """Level 0 at random from the prompt: W + N - 3 tokens, one too many per missing level."""
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
        """Move one column on; returns the n-grams completed, as (token, what followed).

        ``newest`` are the target's tokens after the rows of the last level; ``root`` the token that
        was column 0 when they ran. A window moves by one column whatever was accepted: entries
        that thereby stand at a wrong position cost hits, never correctness.
        """
        if not self.full:
            # Level 1 takes a token for every token of level 0; a later level loses the column that
            # the root moves onto. So level 0 is always one shorter than the others.
            made = list(newest[1:] if len(self.levels) > 1 else newest)
            self.levels = [level[1:] for level in self.levels] + [made]
            return []
        heads = [root, *self.levels[0]]
        found = [
            (heads[j], (*(level[j] for level in self.levels[1:]), newest[j]))
            for j in range(self.width)
        ]
        self.levels = [self.levels[1][1:], *self.levels[2:], list(newest)]
        return found


@lru_cache(maxsize=64)
def layout(sizes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Mask and positions of window rows, for levels of ``sizes`` tokens.

    Returns visible [R, R] bool among window rows (all of them see the root besides) and positions
    [R] relative to the root's. Level 0, column j sees columns <= j of level 0; level l >= 1,
    column j sees those too, and its own column in levels 1 .. l.
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
