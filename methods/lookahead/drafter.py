"""Lookahead in the engine: the window's rows run beside a trie of guesses.

Source: arXiv 2402.02057; start-up and window as in github.com/hao-ai-lab/LookaheadDecoding. Two
differences from that implementation: guesses with a common prefix share its rows, and behind a
guess that is accepted whole the target's next token is committed too.
"""

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from harness.engine import (
    Context,
    Drafter,
    ExtraRows,
    Needs,
    Outcome,
    RowGroup,
    Target,
    Tree,
    TreeShape,
    Verified,
)
from methods.lookahead.window import NGram, Pool, Window, layout


class LookaheadDrafter(Drafter):
    """``sizes``: W, N and G (guesses); ``from_prompt``: also pool n-grams of the text so far."""

    def __init__(
        self, target: Target, sizes: tuple[int, int, int], *, from_prompt: bool = True
    ) -> None:
        self._target = target
        self._width, self._ngram, self._guesses = sizes
        self._from_prompt = from_prompt
        # While a levels exist, each has W + N - 1 - a columns; the root's column is no window row.
        widest = max(a * (self._width + self._ngram - 1 - a) - 1 for a in range(1, self._ngram))
        self.needs = Needs(max_rows=1 + self._guesses * (self._ngram - 1) + widest)
        self.pool = Pool(self._guesses)
        self.window = Window(self._width, self._ngram, [[]])

    def begin(self, context: Context) -> None:
        """A new pool and a new window: nothing is carried from prompt to prompt."""
        self.pool = Pool(self._guesses)
        self.window = Window.start(context.tokens, self._width, self._ngram, len(context.tokens))
        if self._from_prompt:
            self.pool.add_text(context.tokens, self._ngram)

    def draft(self, context: Context) -> Tree:
        guesses = self.pool.after(context.root) if self.window.full else []
        return trie(context.root, guesses)

    def extra_rows(self, tree: Tree) -> ExtraRows | None:
        """The window: its rows see the root and each other, never a guess."""
        tokens, sizes = self.window.tokens, tuple(map(len, self.window.levels))
        visible, positions = _window_rows(len(tree.tokens), sizes)
        group = RowGroup(0, len(tokens), lambda _: self._target.embed(tokens))
        key = ("lookahead", sizes)
        return ExtraRows((group,), visible, positions, key, scored=sizes[-1])

    def wanted(self, tree: Tree, verified: Verified) -> Tensor:
        """The target's tokens after the window's newest level."""
        return verified.beside.argmax(-1)

    def observe(self, context: Context, outcome: Outcome) -> None:
        """Move the window by one column and pool the n-grams that this completes."""
        newest = [int(token) for token in outcome.read]
        for token, followers in self.window.advance(outcome.tree.tokens[0], newest):
            self.pool.add(token, followers)
        if self._from_prompt:
            fresh = len(outcome.tokens) + self._ngram - 1
            self.pool.add_text(context.tokens[-fresh:], self._ngram)


@lru_cache(maxsize=512)
def _window_rows(nodes: int, sizes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Mask of the window rows over ``nodes`` tree rows and themselves, and their positions."""
    between, positions = layout(sizes)
    visible = torch.zeros(len(between), nodes + len(between), dtype=torch.bool)
    visible[:, 0] = True
    visible[:, nodes:] = between
    return visible, positions


def trie(root: int, guesses: Sequence[NGram]) -> Tree:
    """The guesses as one tree under ``root``; a common prefix is in it once."""
    parents, tokens = [-1], [root]
    children: dict[tuple[int, int], int] = {}
    for guess in guesses:
        node = 0
        for token in guess:
            child = children.get((node, token))
            if child is None:
                child = children[node, token] = len(tokens)
                parents.append(node)
                tokens.append(token)
            node = child
    return Tree(TreeShape(tuple(parents)), tokens)
