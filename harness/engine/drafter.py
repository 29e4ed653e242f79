"""What a speculative method adds to the engine: drafts, and rows that ride along.

One step, in the engine's loop:

    draft -> verify -> choose -> accept -> commit -> observe

Up to the acceptance all is queued on the device, which is waited for there, once: the host then
reads which nodes were accepted. A drafter decides what is drafted and may learn from what was
verified; it cannot change what is committed. Whatever it does, the output is the target's own.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from harness.decoder import StepRecord
from harness.engine.block import Between, Block, RowGroup
from harness.engine.masks import causal_layout
from harness.engine.stack import Sublayer
from harness.engine.target import Target
from harness.engine.tree import ROOT_ONLY, Tree


@dataclass(frozen=True, slots=True)
class ExtraRows:
    """Rows beside the tree in a verify forward; the tree never sees them.

    ``groups`` in order of entry layer. ``visible`` [R, N + R] bool says which tree nodes and which
    extra rows each extra row sees; ``positions`` [R] int64 are relative to the root's; both lie on
    the host. ``key`` names the layout: equal keys promise equal ``visible`` and ``positions`` for
    equal tree shapes. ``between`` as in :class:`Block`.
    """

    groups: tuple[RowGroup, ...]
    visible: Tensor
    positions: Tensor
    key: object
    between: Between = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Needs:
    """What a drafter asks of the engine.

    ``max_rows``: rows it may send in one forward, tree included. ``states``: layers whose entering
    states it wants for the rows of each verify forward; ``prompt_states``: of the prompt too.
    """

    max_rows: int = 1
    states: frozenset[int] = frozenset()
    prompt_states: bool = False


@dataclass(slots=True)
class Context:
    """What a drafter can see and do between two verify forwards."""

    target: Target
    tokens: list[int]  # prompt and committed tokens; the last one is the root
    cap: int  # tokens that may still be committed
    prompt_states: dict[int, Tensor] = field(default_factory=dict)  # layer -> [1, prompt-1, H]

    @property
    def root(self) -> int:
        """The newest committed token, not yet in the arena."""
        return self.tokens[-1]

    def forward(
        self, ids: list[int], *, ahead: int = 0, keep: Collection[Sublayer] | None = None
    ) -> Tensor:
        """Final states [1, T, H] of draft ``ids`` run in order behind the committed tokens.

        They go to the slots past the committed length, after ``ahead`` draft tokens run before,
        and are overwritten by the next verify forward. ``keep`` names the sublayers to run.
        """
        layout = causal_layout(len(ids), self.target.device)
        group = RowGroup(0, len(ids), lambda _: self.target.embed(ids))
        return self.target.forward(Block((group,), layout), ahead=ahead, keep=keep)[0]


@dataclass(frozen=True, slots=True)
class Verified:
    """What a verify forward of N nodes gave, on the device: reading it here would wait for that.

    ``hidden`` as in :class:`Outcome`; ``logits`` [N, V] and the target's token ``chosen`` [N] int64
    after each node; ``last`` [] int64, the last node accepted.
    """

    hidden: Tensor
    logits: Tensor
    chosen: Tensor
    last: Tensor


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one verify forward showed. The arena already holds the accepted path."""

    tree: Tree
    path: list[int]  # nodes accepted and kept, root first
    tokens: list[int]  # tokens committed, bonus last
    hidden: Tensor  # [1, T, H] final states, before the norm; tree rows first, then extra rows
    states: dict[int, Tensor]  # layer -> [1, rows entering it, H], for the layers asked for
    read: list[float]  # the numbers of ``wanted``, flat


class Drafter:
    """Base of every method that runs in the engine. As it stands it drafts nothing.

    ``learns_from_logits``: what it carries to the next answers is not in the steps' records, so
    that a resumed session has it answer again what it had answered.
    """

    needs = Needs()
    learns_from_logits = False

    def extra_bytes(self) -> int:
        """Bytes of own parameters and buffers."""
        return 0

    def begin(self, context: Context) -> None:
        """A new prompt is in the arena, all but its last token: forget the previous one.

        The same prompt again is answered in the same steps, unless :meth:`remember` is called
        between.
        """

    def draft(self, context: Context) -> Tree:
        """The tree to verify next; node 0 carries ``context.root``."""
        return Tree(ROOT_ONLY, [context.root])

    def extra_rows(self, tree: Tree) -> ExtraRows | None:
        """Rows to run beside ``tree``."""
        return None

    def wanted(self, tree: Tree, verified: Verified) -> Tensor | None:
        """What the next draft needs of a verify forward on the host, to be read with the tokens."""
        return None

    def observe(self, context: Context, outcome: Outcome) -> None:
        """Learn from a verify forward for this answer's next drafts, whose ``context`` it is."""

    def remember(self, records: Sequence[StepRecord]) -> None:
        """Carry what the steps of an answer that counts taught over to the next ones."""
