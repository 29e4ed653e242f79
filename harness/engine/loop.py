"""The engine's decode loop: the same for autoregressive decoding and for every drafter.

Invariant at the top of the loop: the arena holds exactly the committed tokens but the newest, which
is the root. Prefill stores all prompt tokens but the last, which is the first root, so the first
step is a step like any other; it ends the prefill phase with one token.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from harness.decoder import Decoder, Request, StepRecord, collect
from harness.engine.block import Block, RowGroup
from harness.engine.choice import TokenChoice
from harness.engine.drafter import Context, Drafter, ExtraRows, Outcome, Verified, layout_of
from harness.engine.host import to_host
from harness.engine.masks import BlockLayout, recent
from harness.engine.target import Target
from harness.engine.tree import ROOT_ONLY, Accept, Tree, exact


class EngineDecoder(Decoder):
    """Decodes with a target and a drafter; for autoregressive decoding the drafter drafts nothing.

    ``accept``: the acceptance rule; ``exact`` and ``root_only`` keep the output the target's own.
    """

    def __init__(self, target: Target, drafter: Drafter, accept: Accept = exact) -> None:
        self.target = target
        self.drafter = drafter
        self.accept = accept
        self._layouts: dict[object, BlockLayout] = {}
        self._slots = 0

    def extra_bytes(self) -> int:
        """Bytes of the K/V slots of the longest request, packed weights, masks and the drafter."""
        target = self.target
        slots = target.arena.bytes_per_slot * self._slots
        return slots + target.packed_bytes + target.mask_bytes + self.drafter.extra_bytes()

    def remember(self, records: Sequence[StepRecord]) -> None:
        """Leave it to the drafter to carry over what the records teach."""
        self.drafter.remember(records)

    def relive(self, request: Request, records: Sequence[StepRecord]) -> None:
        """As :meth:`remember`; a drafter that learns from logits first decodes the answer again."""
        if self.drafter.learns_from_logits:
            collect(self, request)
        self.remember(records)

    @torch.inference_mode()
    def steps(self, request: Request) -> Iterator[StepRecord]:
        """Draft, verify, choose, accept and commit until a stop id or the cap."""
        drafter = self.drafter
        context = self.prefill(request)
        choice = TokenChoice(request.sampling)
        tree = Tree(ROOT_ONLY, [context.root])
        emitted, finished = 0, False
        while not finished:
            block, nodes = self.block(tree, drafter.extra_rows(tree)), len(tree.tokens)
            hidden, states, scores = self.verify(block, nodes)
            logits, beside = scores[:nodes], scores[nodes:]
            chosen, last = self.choose(context, tree, logits, choice)
            wanted = drafter.wanted(tree, Verified(hidden, logits, chosen, last, beside))
            after, path, read = self.read(tree, chosen, last, wanted)
            reached = [tree.tokens[node] for node in path[1:]] + [after[path[-1]]]
            tokens, finished = request.cut(emitted, reached)
            path = path[: len(tokens)]
            self.commit(path)
            emitted += len(tokens)
            yield StepRecord(tuple(tokens), len(tree.tokens) - 1, block.rows, tuple(path[1:]))
            if not finished:
                context.tokens += tokens
                context.cap = request.max_new_tokens - emitted
                drafter.observe(context, Outcome(tree, path, tokens, hidden, states, read))
                tree = drafter.draft(context)

    def prefill(self, request: Request) -> Context:
        """Run and commit the prompt but its last token, and start the drafter on it."""
        prompt, needs = request.prompt_ids, self.drafter.needs
        # At the last forward the arena lacks two tokens of the whole sequence: the root, which is
        # one of the rows, and the token that the forward adds.
        slots = len(prompt) + request.max_new_tokens + needs.max_rows - 2
        self._slots = max(self._slots, slots)
        self.target.begin(slots)
        capture = needs.states if needs.prompt_states else ()
        states = self.target.prefill(prompt[:-1], capture)
        context = Context(self.target, list(prompt), request.max_new_tokens, states)
        self.drafter.begin(context)
        return context

    def verify(self, block: Block, nodes: int) -> tuple[Tensor, dict[int, Tensor], Tensor]:
        """Final and captured states of all rows, and logits [N + S, V] after the tree's N nodes
        and the block's S ``scored`` rows, by one product with the vocabulary matrix.
        """
        hidden, states = self.target.forward(block, capture=self.drafter.needs.states)
        rows = hidden[0, :nodes]
        if block.scored:
            rows = torch.cat([rows, hidden[0, -block.scored :]])
        return hidden, states, self.target.logits(rows)

    def choose(
        self, context: Context, tree: Tree, logits: Tensor, choice: TokenChoice
    ) -> tuple[Tensor, Tensor]:
        """The target's token [N] after each node, and the last node accepted []; on the device."""
        base = len(context.tokens)
        ends = tree.ends(context.tokens[-2:][0]) if choice.by_text else ()
        chosen = choice(logits, [base + depth for depth in tree.shape.depths], ends)
        return chosen, self.accept(tree, logits, chosen)

    def read(
        self, tree: Tree, chosen: Tensor, last: Tensor, wanted: Tensor | None
    ) -> tuple[list[int], list[int], list[float]]:
        """The token chosen after each node, the accepted path from the root, the drafter's numbers.

        The one read of a step: here the host waits for the device.
        """
        if len(tree.tokens) == 1 and wanted is None:
            return chosen.tolist(), [0], []
        parts = (chosen, last) if wanted is None else (chosen, last, wanted)
        after, (node,), *read = to_host(*parts)
        return [int(token) for token in after], tree.path(int(node)), read[0] if read else []

    def commit(self, path: list[int]) -> None:
        """Make the accepted rows part of the sequence, and drop all others."""
        self.target.arena.commit(path)

    def block(self, tree: Tree, extra: ExtraRows | None) -> Block:
        """The verify forward of a tree and of the extra rows that run beside it."""
        target, shape = self.target, tree.shape
        ids = tree.ids(target.device)
        group = RowGroup(0, len(shape), lambda _: target.embed_batch(ids[None]))
        key = (shape.parents, None if extra is None else extra.key)
        layout = recent(self._layouts, key, lambda: layout_of(tree.shape, extra, target.device))
        if extra is None:
            return Block((group,), layout)
        groups = (group, *extra.groups)
        return Block(groups, layout, between=extra.between, scored=extra.scored)
