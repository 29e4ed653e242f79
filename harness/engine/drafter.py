"""What a speculative method adds to the engine: drafts, and rows that ride along.

One step, in the engine's loop:

    draft -> verify -> choose -> accept -> commit -> observe

Everything up to the acceptance is queued on the device. There the host waits for it, once per step,
to read which nodes were accepted. A drafter decides what is drafted and may learn from what was
verified, but it cannot change what is committed: under a lossless rule of acceptance the output is
the target's own, whatever is drafted.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from harness.decoder import StepRecord
from harness.engine.block import Between, Block, RowGroup
from harness.engine.masks import BlockLayout, causal_layout
from harness.engine.stack import Sublayer
from harness.engine.target import Target
from harness.engine.tree import ROOT_ONLY, Tree, TreeShape


@dataclass(frozen=True, slots=True)
class ExtraRows:
    """Rows that run beside the tree in a verify forward; no tree row ever sees them.

    ``groups`` in order of entry layer. ``visible`` [R, N + R] bool says which tree nodes and which
    extra rows each extra row sees; ``positions`` [R] int64 are relative to the root's; both lie on
    the host. ``key`` names the layout: equal keys promise equal ``visible`` and ``positions`` for
    equal tree shapes. ``between`` and ``scored`` as in :class:`Block`.
    """

    groups: tuple[RowGroup, ...]
    visible: Tensor
    positions: Tensor
    key: object
    between: Between = field(default_factory=dict)
    scored: int = 0


def layout_of(shape: TreeShape, extra: ExtraRows | None, device: torch.device) -> BlockLayout:
    """Tree rows see their ancestors; extra rows see what they ask for; no tree row sees them."""
    depths = torch.tensor(shape.depths)
    if extra is None:
        return BlockLayout(shape.ancestors, depths, device)
    nodes = len(shape)
    total = nodes + len(extra.positions)
    visible = torch.zeros(total, total, dtype=torch.bool)
    visible[:nodes, :nodes] = shape.ancestors
    visible[nodes:] = extra.visible
    return BlockLayout(visible, torch.cat([depths, extra.positions]), device)


@dataclass(frozen=True, slots=True)
class Needs:
    """What a drafter asks of the engine.

    ``max_rows``: the most rows that it sends in one forward, tree included. ``states``: the layers
    whose entering states it wants, for all rows of each verify forward; ``prompt_states``: whether
    it also wants those of the prompt.
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

        Their keys and values go behind the committed tokens and ``ahead`` draft tokens that were
        run before, and the next verify forward overwrites them. ``keep`` names the sublayers to
        run, all by default.
        """
        layout = causal_layout(len(ids), self.target.device)
        group = RowGroup(0, len(ids), lambda _: self.target.embed(ids))
        return self.target.forward(Block((group,), layout), ahead=ahead, keep=keep)[0]


@dataclass(frozen=True, slots=True)
class Verified:
    """Tensors of a verify forward of N nodes, on the device: reading them makes the host wait.

    ``hidden`` as in :class:`Outcome`; ``logits`` [N, V] and the target's token ``chosen`` [N] int64
    after each node; ``last`` [] int64, the last node accepted; ``beside`` [S, V] the logits after
    the S scored extra rows.
    """

    hidden: Tensor
    logits: Tensor
    chosen: Tensor
    last: Tensor
    beside: Tensor


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one step's verify forward. The arena already holds the accepted path."""

    tree: Tree
    path: list[int]  # nodes accepted and kept, root first
    tokens: list[int]  # tokens committed, bonus last
    hidden: Tensor  # [1, T, H] final states, before the norm; tree rows first, then extra rows
    states: dict[int, Tensor]  # layer -> [1, rows entering it, H], for the layers asked for
    read: list[float]  # the numbers that :meth:`Drafter.wanted` asked for, flat


class Drafter:
    """Base class of every method that runs in the engine. It drafts nothing itself.

    ``learns_from_logits``: what the drafter carries over to later answers cannot be learnt from
    step records alone, so a resumed session decodes the earlier answers again.
    """

    needs = Needs()
    learns_from_logits = False

    def extra_bytes(self) -> int:
        """Bytes of the drafter's own parameters and buffers."""
        return 0

    def begin(self, context: Context) -> None:
        """Start on a new prompt and forget the previous one. The arena holds the new prompt,
        but for its last token.

        Decoding the same prompt again takes the same steps, unless :meth:`remember` is called in
        between.
        """

    def draft(self, context: Context) -> Tree:
        """The tree to verify next; node 0 carries ``context.root``."""
        return Tree(ROOT_ONLY, [context.root])

    def extra_rows(self, tree: Tree) -> ExtraRows | None:
        """Rows to run beside ``tree`` in its verify forward; None for no such rows."""
        return None

    def wanted(self, tree: Tree, verified: Verified) -> Tensor | None:
        """A device tensor of numbers that the next draft needs on the host, or None. The loop
        reads them together with the chosen tokens; :meth:`observe` gets them as ``outcome.read``.
        """
        return None

    def observe(self, context: Context, outcome: Outcome) -> None:
        """Learn from a verify forward; ``context`` already holds the tokens that it committed."""

    def remember(self, records: Sequence[StepRecord]) -> None:
        """Carry over to later answers what the steps of a measured answer have taught."""
