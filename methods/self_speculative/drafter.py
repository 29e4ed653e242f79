"""Self-speculative decoding: the target drafts for itself with some of its sublayers skipped.

Source: Zhang et al., "Draft & Verify" (arXiv 2309.08168). Drafts are made one by one until the
draft's own confidence falls below a threshold that follows the acceptance rate (section 4.3).
"""

import copy
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch

from harness.engine import (
    Context,
    Drafter,
    Needs,
    Outcome,
    StepRecord,
    Sublayer,
    Target,
    Tree,
    chain,
)
from harness.errors import HarnessError

KINDS = ("attention", "mlp")


@dataclass(frozen=True, slots=True)
class ExitRule:
    """When to stop drafting, and how the threshold moves: the authors' constants.

    ``carried`` keeps the threshold from prompt to prompt, as their notebooks do; otherwise every
    prompt starts at ``threshold``.
    """

    longest: int = 8
    threshold: float = 0.6
    carried: bool = False
    wanted_rate: float = 0.9
    step: float = 0.01
    rate_memory: float = 0.5
    threshold_memory: float = 0.9


class AdaptiveThreshold:
    """The threshold gamma of section 4.3, moved after every verification."""

    def __init__(self, rule: ExitRule) -> None:
        self._rule = rule
        self.value, self._rate = rule.threshold, 0.0

    def update(self, accepted: int, drafted: int) -> None:
        """Raise it if too few drafts are accepted; else lower it if drafting stopped early."""
        rule = self._rule
        if drafted == 0:
            return
        self._rate = rule.rate_memory * self._rate + (1 - rule.rate_memory) * accepted / drafted
        moved = self.value
        if self._rate < rule.wanted_rate:
            moved += rule.step
        elif drafted < rule.longest:
            moved -= rule.step
        self.value = rule.threshold_memory * self.value + (1 - rule.threshold_memory) * moved


class SkipDrafter(Drafter):
    """Drafts a chain of tokens with the sublayers ``keep`` alone.

    Draft rows write their keys and values behind the committed ones, where the verify forward then
    writes its own; layers whose attention is skipped leave gaps there that nothing reads.
    """

    def __init__(self, target: Target, keep: Collection[Sublayer], rule: ExitRule) -> None:
        target.require_sublayers()
        self._target, self._rule = target, rule
        self._keep = frozenset(keep)
        self._carried = self._threshold = AdaptiveThreshold(rule)
        self.needs = Needs(max_rows=1 + rule.longest)

    def begin(self, context: Context) -> None:
        self._threshold = copy.copy(self._carried)

    def draft(self, context: Context) -> Tree:
        tokens = [context.root]
        # The bonus token is one of the tokens that may still be committed.
        longest = min(self._rule.longest, context.cap - 1)
        while len(tokens) <= longest:
            hidden = context.forward(tokens[-1:], ahead=len(tokens) - 1, keep=self._keep)
            logits = self._target.logits(hidden[0, -1:]).float()
            best = logits.max(-1)
            confidence = (best.values - logits.logsumexp(-1)).exp()
            # one read for both: on a GPU every read waits for the device
            probability, token = torch.cat([confidence.double(), best.indices.double()]).tolist()
            tokens.append(int(token))
            if probability < self._threshold.value:
                break  # the unsure token is verified all the same
        return Tree(chain(len(tokens) - 1), tokens)

    def observe(self, context: Context, outcome: Outcome) -> None:
        self._threshold.update(len(outcome.path) - 1, len(outcome.tree.tokens) - 1)

    def remember(self, records: Sequence[StepRecord]) -> None:
        if self._rule.carried:
            for record in records[:-1]:  # an answer's last step is followed by no draft
                self._carried.update(len(record.path), record.draft_size)


def kept(layers: int, skipped: Collection[Sublayer]) -> frozenset[Sublayer]:
    """All sublayers of a target with ``layers`` layers except ``skipped``; refuses unknown ones."""
    everything = {(layer, kind) for layer in range(layers) for kind in KINDS}
    unknown = set(skipped) - everything
    if unknown:
        layer, kind = min(unknown)
        raise HarnessError(
            f"self_speculative: skips {kind} of layer {layer}, expected layers below {layers}"
        )
    return frozenset(everything - set(skipped))
