"""Drafters that stand for whole families of methods, and drafters that are wrong on purpose."""

import random
from collections.abc import Iterator, Sequence

import torch

from harness.decoder import Request, StepRecord
from harness.engine.block import RowGroup
from harness.engine.drafter import Context, Drafter, ExtraRows, Needs, Outcome
from harness.engine.loop import EngineDecoder
from harness.engine.target import Target
from harness.engine.tree import Tree, TreeShape, chain

# root - two children, the first with two children of its own, one grandchild
BUSHY = TreeShape((-1, 0, 0, 1, 1, 3))


class Oracle(Drafter):
    """Knows the continuation: node 1, 3, 5 of the bushy tree carry it, the others a wrong token.

    ``first`` moves the truth to the second child, so that the accepted path is not contiguous.
    """

    needs = Needs(max_rows=len(BUSHY))

    def __init__(self, prompt: Sequence[int], continuation: Sequence[int], vocab: int) -> None:
        self._all = [*prompt, *continuation]
        self._vocab = vocab

    def draft(self, context: Context) -> Tree:
        at = len(context.tokens)
        truth = [self._all[i] if i < len(self._all) else 0 for i in range(at, at + 3)]
        wrong = [(token + 1) % self._vocab for token in truth]
        # 1 and 2 are siblings, 3 and 4 children of 1: the truth sits at 1, 4 and nowhere deeper,
        # or, where the context has an odd length, at 1, 3 and 5.
        if at % 2:
            tokens = [context.root, truth[0], wrong[0], truth[1], wrong[1], truth[2]]
        else:
            tokens = [context.root, truth[0], wrong[0], wrong[1], truth[1], wrong[2]]
        return Tree(BUSHY, tokens)


class Random(Drafter):
    """Random tokens in random trees of 1 to 8 nodes."""

    needs = Needs(max_rows=8)

    def __init__(self, vocab: int, seed: int = 0) -> None:
        self._rng = random.Random(seed)
        self._vocab = vocab

    def draft(self, context: Context) -> Tree:
        nodes = self._rng.randint(1, 8)
        shape = TreeShape((-1, *(self._rng.randrange(n) for n in range(1, nodes))))
        tokens = [self._rng.randrange(self._vocab) for _ in range(nodes - 1)]
        return Tree(shape, [context.root, *tokens])


class NeverAccepted(Drafter):
    """A chain whose first token is outside the vocabulary that the target ever chooses."""

    needs = Needs(max_rows=4)

    def __init__(self, forbidden: int) -> None:
        self._forbidden = forbidden

    def draft(self, context: Context) -> Tree:
        return Tree(chain(3), [context.root] + [self._forbidden] * 3)


class SublayerSkip(Drafter):
    """Self-speculation: a chain drafted with random sublayers of the target left out.

    Draft K/V go to the slots past the committed length and are overwritten by the verify forward.
    """

    needs = Needs(max_rows=5)

    def __init__(self, target: Target, drafts: int = 3, share: float = 0.3, seed: int = 0) -> None:
        rng = random.Random(seed)
        every = [(i, s) for i in range(len(target.layers)) for s in ("attention", "mlp")]
        self.keep = frozenset(s for s in every if rng.random() >= share)
        self._drafts = drafts

    def draft(self, context: Context) -> Tree:
        tokens = [context.root]
        for ahead in range(self._drafts):
            hidden = context.forward([tokens[-1]], ahead=ahead, keep=self.keep)
            tokens.append(int(context.target.logits(hidden[0]).argmax(-1)))
        return Tree(chain(self._drafts), tokens)


class WindowRows(Drafter):
    """Lookahead's shape: random tokens enter at layer 0, see the root and each other causally."""

    needs = Needs(max_rows=3 + 4)

    def __init__(self, target: Target, vocab: int, seed: int = 0) -> None:
        self._rng = random.Random(seed)
        self._target, self._vocab = target, vocab
        self._guess = [0, 0]
        self.observed = 0

    def draft(self, context: Context) -> Tree:
        return Tree(chain(2), [context.root, *self._guess])

    def extra_rows(self, tree: Tree) -> ExtraRows:
        rows = 4
        ids = [self._rng.randrange(self._vocab) for _ in range(rows)]
        visible = torch.zeros(rows, len(tree.shape) + rows, dtype=torch.bool)
        visible[:, 0] = True
        visible[:, len(tree.shape) :] = torch.ones(rows, rows, dtype=torch.bool).tril()
        group = RowGroup(0, rows, lambda _: self._target.embed(ids))
        return ExtraRows((group,), visible, torch.arange(1, rows + 1), key="window")

    def observe(self, context: Context, outcome: Outcome) -> None:
        rows = outcome.hidden[0, len(outcome.tree.tokens) :]
        self._guess = context.target.logits(rows).argmax(-1).tolist()[:2]
        self.observed += len(rows)


class OwnModel(Drafter):
    """A separate draft model with a cache of its own, rolled back to what was committed."""

    needs = Needs(max_rows=4)

    def __init__(self, model: Target, drafts: int = 3) -> None:
        self._model, self._drafts = model, drafts

    def begin(self, context: Context) -> None:
        self._model.begin(len(context.tokens) + context.cap + self._drafts + 1)
        self._model.prefill(context.tokens[:-1])

    def draft(self, context: Context) -> Tree:
        arena = self._model.arena
        arena.length = min(arena.length, len(context.tokens) - 1)  # roll back what was rejected
        own = Context(self._model, context.tokens, context.cap)
        pending = context.tokens[arena.length :]
        drafted: list[int] = []
        for _ in range(self._drafts):
            hidden = own.forward(pending)
            arena.length += len(pending)
            pending = [int(self._model.logits(hidden[0, -1:]).argmax(-1))]
            drafted += pending
        return Tree(chain(self._drafts), [context.root, *drafted])


class Noting(EngineDecoder):
    """Notes what it answered and what it was told to remember."""

    def __init__(self, target: Target, notes: list[tuple[str, int]]) -> None:
        super().__init__(target, Drafter())
        self._notes = notes

    def steps(self, request: Request) -> Iterator[StepRecord]:
        self._notes.append(("answered", len(request.prompt_ids)))
        return super().steps(request)

    def remember(self, records: Sequence[StepRecord]) -> None:
        self._notes.append(("remembered", len(records)))
