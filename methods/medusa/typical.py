"""Typical acceptance: drafts that are likely enough pass, whatever the target would have said.

Source: arXiv 2401.10774, section 2.3.1 (the idea: Hewitt et al., arXiv 2210.15191). Lossy by
design. The root and the token after the accepted path stay the target's argmax, so the output is
deterministic.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.engine.tree import Tree, root_only

_DEEPER = 1e6  # more than log-probabilities of a path differ by


@dataclass(frozen=True, slots=True)
class TypicalAcceptance:
    """Accept token x after node n if p(x) > min(threshold, alpha * exp(-entropy(p))),
    p = softmax(logits of n / temperature). The longest accepted path wins; ties go to the likelier.
    """

    temperature: float = 0.7
    threshold: float = 0.09
    alpha: float = 0.3

    def __call__(self, tree: Tree, logits: Tensor, chosen: Tensor) -> Tensor:
        """[] int64 the last node accepted; ``logits`` [N, V] are the target's after each node."""
        if len(tree.tokens) == 1:
            return root_only(tree, logits, chosen)
        probabilities = (logits.float() / self.temperature).softmax(-1)
        # 1e-5: as upstream guards the logarithm, so that thresholds agree to the last digit
        entropy = -(probabilities * (probabilities + 1e-5).log()).sum(-1)
        threshold = (self.alpha * (-entropy).exp()).clamp_max(self.threshold)
        shape = tree.on(logits.device)
        own = probabilities[shape.parents, tree.ids(logits.device)]
        reached = tree.reached(own > threshold[shape.parents])
        # What is not reached may be as unlikely as 0, and so may the root, which is no draft.
        likely = torch.where(reached & (shape.depths > 0), own, 1.0).double().log()
        score = shape.drafted.double() @ likely
        return torch.where(reached, score + _DEEPER * shape.depths, -math.inf).argmax()
