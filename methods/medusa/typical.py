"""Typical acceptance: drafts that are likely enough pass, whatever the target would have said.

Source: arXiv 2401.10774, section 2.3.1 (the idea: Hewitt et al., arXiv 2210.15191). Lossy by
design. The root and the token after the accepted path stay the target's argmax, so the output is
deterministic.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.engine.tree import Tree


@dataclass(frozen=True, slots=True)
class TypicalAcceptance:
    """Accept token x after node n if p(x) > min(threshold, alpha * exp(-entropy(p))),
    p = softmax(logits of n / temperature). The longest accepted path wins; ties go to the likelier.
    """

    temperature: float = 0.7
    threshold: float = 0.09
    alpha: float = 0.3

    def __call__(self, tree: Tree, logits: Tensor, chosen: Sequence[int]) -> list[int]:
        """Nodes accepted, root first; ``logits`` [N, V] are the target's after each node."""
        if len(tree.tokens) == 1:
            return [0]
        probabilities = (logits.float() / self.temperature).softmax(-1)
        # 1e-5: as upstream guards the logarithm, so that thresholds agree to the last digit
        entropy = -(probabilities * (probabilities + 1e-5).log()).sum(-1)
        threshold = (self.alpha * (-entropy).exp()).clamp_max(self.threshold)
        places = torch.tensor([tree.shape.parents[1:], tree.tokens[1:]], device=logits.device)
        parents, tokens = places
        own = probabilities[parents, tokens]
        # one read of both: on a GPU each waits for the device
        passes, scores = torch.stack([(own > threshold[parents]).to(own), own.log()]).tolist()
        best, reached = [0], {0: ([0], 0.0)}
        best_score = 0.0
        for node, parent in enumerate(tree.shape.parents[1:], start=1):
            if parent not in reached or not passes[node - 1]:
                continue
            path, score = reached[parent]
            reached[node] = ([*path, node], score + scores[node - 1])
            if (len(path) + 1, reached[node][1]) > (len(best), best_score):
                best, best_score = reached[node]
        return best
