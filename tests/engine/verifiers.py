"""Every engine drafter, and drafters of every kind of tree, for the target of ``draws``.

Each drafts from the present request alone, so that its answers at a seed are always the same.
"""

import random
from collections.abc import Callable

from harness.engine.drafter import Context, Drafter, Needs
from harness.engine.target import Target
from harness.engine.tree import Tree, TreeShape, chain
from methods.firp.drafter import FirpDrafter, MapProducts
from methods.firp.projections import Layout, Projections
from methods.lookahead.drafter import LookaheadDrafter
from methods.medusa.drafter import MedusaDrafter
from methods.prompt_lookup import Lookup, PromptLookup
from methods.self_speculative.drafter import ExitRule, SkipDrafter, kept
from methods.shared.trees import BestFirstTree, StaticTree
from tests import toys
from tests.engine.draws import VOCAB
from tests.methods.drafters import PATHS, fused, random_heads


class Guess(Drafter):
    """A tree of tokens that depend on the text alone; of siblings, ``copies`` have one token."""

    def __init__(self, shape: TreeShape, copies: int = 1) -> None:
        self._shape, self._copies = shape, copies
        self.needs = Needs(max_rows=len(shape))

    def draft(self, context: Context) -> Tree:
        rng = random.Random(str(context.tokens))
        tokens, born = [context.root], [0] * len(self._shape)
        for parent in self._shape.parents[1:]:
            if born[parent] % self._copies == 0:
                fresh = rng.randrange(VOCAB)
            tokens.append((fresh + born[parent] // self._copies) % VOCAB)
            born[parent] += 1
        return Tree(self._shape, tokens)


class Window(toys.WindowRows):
    """Extra rows, and drafts from what the target says after them; alike for every request."""

    def begin(self, context: Context) -> None:
        self._rng, self._guess = random.Random(0), [0, 1]


def firp(target: Target, policy: BestFirstTree | StaticTree, passes: str) -> Drafter:
    maps = Projections(Layout((1, 2, 2)), target.hidden_size)
    return FirpDrafter(MapProducts(maps, target), policy, passes)


def medusa(target: Target) -> Drafter:
    return MedusaDrafter(target, fused(target, random_heads(target)), StaticTree(PATHS))


SKIPPED = ((1, "attention"), (2, "mlp"))
VERIFIERS: dict[str, Callable[[Target], Drafter]] = {
    "plain": lambda _: Drafter(),
    "chain": lambda _: Guess(chain(3)),
    "tree": lambda _: Guess(toys.BUSHY),
    "tree_with_copies": lambda _: Guess(TreeShape((-1, 0, 0, 0, 1, 2, 2)), copies=2),
    "tree_with_extra_rows": lambda target: Window(target, VOCAB),
    "firp": lambda target: firp(target, StaticTree(PATHS), "combined"),
    "firp_two_pass": lambda target: firp(target, BestFirstTree(5, 3), "two_pass"),
    "medusa": medusa,
    "lookahead": lambda target: LookaheadDrafter(target, (2, 3, 2)),
    "self_speculative": lambda t: SkipDrafter(t, kept(len(t.layers), SKIPPED), ExitRule(3, 0.3)),
    "prompt_lookup": lambda _: PromptLookup(Lookup(drafts=3, longest=2)),
}
