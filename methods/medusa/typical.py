"""Typical acceptance: a draft passes if likely enough, even where the target chooses another token.

Source: arXiv 2401.10774, section 2.3.1 (the idea: Hewitt et al., arXiv 2210.15191). Lossy by
design. The root and the token after the accepted path stay the target's own choice, the likeliest
token or a drawn one.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.engine.tree import Tree, root_only

_DEEPER = 1e6  # score of one level of depth: larger than any difference in log-probability


@dataclass(frozen=True, slots=True)
class TypicalAcceptance:
    """Accept token x after node n if p(x) > min(threshold, alpha * exp(-entropy(p))),
    p = softmax(logits of n / temperature). The longest accepted path wins; ties go to the likelier.
    """

    temperature: float = 0.7
    threshold: float = 0.09
    alpha: float = 0.3

    def __call__(self, tree: Tree, logits: Tensor, chosen: Tensor) -> Tensor:
        """[] int64 the last accepted node; ``logits`` [N, V] are the target's after each node."""
        if len(tree.tokens) == 1:
            return root_only(tree, logits, chosen)
        probabilities = (logits.float() / self.temperature).softmax(-1)
        # 1e-5: as upstream guards the logarithm, so that thresholds agree to the last digit
        entropy = -(probabilities * (probabilities + 1e-5).log()).sum(-1)
        threshold = (self.alpha * (-entropy).exp()).clamp_max(self.threshold)
        shape = tree.on(logits.device)
        p_draft = probabilities[shape.parents, tree.ids(logits.device)]
        reached = tree.reached(p_draft > threshold[shape.parents])
        # Nodes that are not reached, and the root, which is no draft, may have probability 0.
        log_p = torch.where(reached & (shape.depths > 0), p_draft, 1.0).double().log()
        score = shape.drafted.double() @ log_p
        return torch.where(reached, score + _DEEPER * shape.depths, -math.inf).argmax()
