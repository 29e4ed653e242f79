"""What a training achieved: a method compared with drafters that learnt less.

The untrained start shows what the target itself contributes; a bigram table of the train answers
shows what the predictability of the text contributes. All are replayed on the tune split; static
trees are grown on one half of it and replayed on the other.
"""

import heapq
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise

from harness.experiment.folder import LEARNT
from harness.files import write_csv
from harness.method import Answer, Job
from methods.shared.accuracy import Predict, measure
from methods.shared.choices import read_values
from methods.shared.trees import Prediction, Trace, grow, replay

TRAINED, UNTRAINED, BIGRAM = "trained", "untrained", "bigram"


class Bigrams:
    """The eight likeliest next tokens of every token, by counts of bigrams in the train answers."""

    def __init__(self, answers: Sequence[Answer]) -> None:
        counts: dict[int, Counter[int]] = defaultdict(Counter)
        for answer in answers:
            tokens = [answer.prompt[-1], *answer.answer]
            for left, right in pairwise(tokens):
                counts[left][right] += 1
        self._next = {
            token: [(n / seen.total(), t) for t, n in seen.most_common(8)]
            for token, seen in counts.items()
        }

    def tree(self, root: int, drafts: int, depth: int) -> set[tuple[int, ...]]:
        """The ``drafts`` most probable token paths after ``root``, of at most ``depth`` tokens."""
        frontier: list[tuple[float, tuple[int, ...]]] = [
            (-p, (t,)) for p, t in self._next.get(root, [])
        ]
        heapq.heapify(frontier)
        tree: set[tuple[int, ...]] = set()
        while frontier and len(tree) < drafts:
            cost, path = heapq.heappop(frontier)
            tree.add(path)
            if len(path) < depth:
                for p, t in self._next.get(path[-1], []):
                    heapq.heappush(frontier, (cost * p, (*path, t)))
        return tree

    def replay(self, answers: Sequence[Answer], drafts: int, depth: int) -> Prediction:
        """Steps and tokens of decoding the answers with drafts from this table."""
        steps = tokens = 0
        for answer in answers:
            at, left = 0, len(answer.answer) - 1
            while left > 0:
                tree = self.tree(answer.answer[at], drafts, depth)
                accepted = 0
                while answer.answer[at + 1 : at + 2 + accepted] in tree:
                    accepted += 1
                    if accepted >= left:
                        break
                kept = min(accepted + 1, left)
                steps, tokens, at, left = steps + 1, tokens + kept, at + kept, left - kept
        return Prediction(steps, tokens)


def _cross_fit(traces: Sequence[Trace], drafts: int, steps: int) -> Prediction:
    """Replay each half of the answers with the tree grown on the other half."""
    halves = (traces[0::2], traces[1::2])
    predictions = [
        replay(held_out, grow(fitted, drafts, steps))
        for held_out, fitted in (halves, tuple(reversed(halves)))
    ]
    return Prediction(sum(p.steps for p in predictions), sum(p.tokens for p in predictions))


def compare(job: Job, trained: Predict, untrained: Predict, steps: int) -> None:
    """Write learnt.csv for a method whose training can be replayed through two predictors."""
    size, device = job.settings.evaluation_batch, job.target.device
    traces = {
        name: measure(predict, job.tune, steps, device, size).traces
        for name, predict in ((TRAINED, trained), (UNTRAINED, untrained))
    }
    write_learnt(job, traces, steps)


def write_learnt(job: Job, traces: Mapping[str, Sequence[Trace]], steps: int) -> None:
    """Write learnt.csv: the acceptance length of each drafter by ``traces``, and of the bigrams.

    All have as many drafts as tuning chose: those of ``traces`` in static trees of their own,
    bigrams in their likeliest paths. Without train answers there are no bigrams.
    """
    drafts = read_values(job.folder, ("drafts",))["drafts"]
    lengths = {
        name: _cross_fit(trace, drafts, steps).acceptance_length for name, trace in traces.items()
    }
    if job.train:
        bigrams = Bigrams(job.train).replay(job.tune, drafts, steps)
        lengths[BIGRAM] = bigrams.acceptance_length
    lines = [
        [name, drafts, f"{length:.4f}", f"{lengths[TRAINED] / length:.4f}"]
        for name, length in lengths.items()
    ]
    header = ["drafter", "draft_size", "acceptance_length", "trained_over_it"]
    write_csv(job.folder / LEARNT, header, lines)
    print("tokens a step: " + ", ".join(f"{name} {length:.3f}" for name, length in lengths.items()))
