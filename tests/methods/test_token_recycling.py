"""Token Recycling: the authors' tree, a plain dictionary's table, and what outlives answers."""

from collections import Counter
from itertools import pairwise

import pytest
import torch

from harness.decoder import Request, collect
from harness.engine.drafter import Context, Outcome, Verified
from harness.engine.loop import EngineDecoder
from harness.engine.target import Target
from harness.engine.tree import Tree
from methods.token_recycling import TEMPLATE, Recycler, likeliest
from tests.models import VOCAB, tiny_model

PROMPT = tuple((11 * (i % 7) + 3) % VOCAB for i in range(17))
Step = tuple[int, list[int], tuple[int, ...], torch.Tensor, list[int]]


class Watched(Recycler):
    """Keeps every step: the next root, the tree that was verified, its logits and what passed."""

    def __init__(self, drafts: int) -> None:
        super().__init__(likeliest(drafts))
        self.steps: list[Step] = []

    def wanted(self, tree: Tree, verified: Verified) -> torch.Tensor:
        self._logits = verified.logits.clone()
        return super().wanted(tree, verified)

    def observe(self, context: Context, outcome: Outcome) -> None:
        super().observe(context, outcome)
        tree = outcome.tree
        step = (context.root, tree.tokens, tree.shape.parents, self._logits, outcome.path)
        self.steps.append(step)


def watched() -> Watched:
    drafter = Watched(40)
    decoder = EngineDecoder(Target(tiny_model("llama")), drafter)
    collect(decoder, Request(PROMPT, 60, frozenset()))
    assert max(len(path) for *_, path in drafter.steps) > 1, "some drafts pass"
    return drafter


def filled(table: dict[int, list[int]], root: int) -> list[int]:
    """The tokens of a tree by its definition, walked path by path."""
    tokens = {(): root}
    for path in likeliest(40):
        above = tokens.get(path[:-1])
        row = [] if above is None else table.get(above, [])
        if path[-1] < len(row):
            tokens[path] = row[path[-1]]
    return list(tokens.values())


def wrong(steps: list[Step]) -> int:
    """Steps whose tree is not what a plain dictionary of all nodes verified so far says."""
    table: dict[int, list[int]] = {}
    found = 0
    for (root, tokens, _, logits, path), (_, following, *_) in pairwise(steps):
        for node in [*range(len(tokens)), *path]:
            order = sorted(range(VOCAB), key=lambda token: -float(logits[node, token]))
            table[tokens[node]] = order[:8]
        found += filled(table, root) != following
    return found


def test_the_template_is_the_authors() -> None:
    assert len(TEMPLATE) == len(set(TEMPLATE)) == 80
    assert [Counter(map(len, TEMPLATE))[depth] for depth in range(1, 7)] == [8, 21, 25, 15, 8, 3]
    assert all(path[:-1] in {(), *TEMPLATE} for path in TEMPLATE)
    assert likeliest(80) == TEMPLATE
    for drafts in (1, 4, 16, 33):
        some = likeliest(drafts)
        assert len(some) == drafts
        assert all(path[:-1] in {(), *some} for path in some), "it is a tree"


def test_trees_follow_a_plain_dictionary() -> None:
    steps = watched().steps
    assert len(steps) > 10
    assert wrong(steps) == 0


def test_control_rejected_nodes_that_teach_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    observe = Recycler.observe

    def accepted_only(self: Recycler, context: Context, outcome: Outcome) -> None:
        width = len(outcome.read) // len(outcome.tree.tokens)
        rejected = set(range(len(outcome.tree.tokens))) - set(outcome.path)
        for node in rejected:
            outcome.read[node * width : (node + 1) * width] = [0] * width
        observe(self, context, outcome)

    monkeypatch.setattr(Recycler, "observe", accepted_only)
    assert wrong(watched().steps) > 0


def test_the_table_outlives_answers_that_count() -> None:
    decoder = EngineDecoder(Target(tiny_model("llama")), Recycler(likeliest(40)))
    request = Request(PROMPT, 40, frozenset())
    text, first = collect(decoder, request)
    collect(decoder, Request(PROMPT[:5], 30, frozenset()))  # an answer that does not count
    decoder.remember(first)
    again, second = collect(decoder, request)
    assert again == text
    assert len(second) < len(first), "what it drafted badly it drafts well now"
    other = EngineDecoder(Target(tiny_model("llama")), Recycler(likeliest(40)))
    other.relive(request, first)
    assert collect(other, request)[1] == second, "in another process too"
    never = EngineDecoder(Target(tiny_model("llama")), Recycler(likeliest(40)))
    collect(never, request)
    assert collect(never, request)[1] == first, "control"
