"""What training gave: FIRP beside drafters that learnt less, and how like real states its own are.

Untrained identity projections show what the target itself contributes; a bigram table of the same
answers shows what the text's predictability contributes. All are replayed on the tune split, static
trees on the half that they were not grown on.
"""

import csv
import heapq
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import pairwise

from harness.experiment.folder import COSINE, LEARNT
from harness.files import replacing
from harness.method import Answer, Job
from methods.firp.projections import Projections, load
from methods.firp.similarity import Cosines, add_similarities, add_today, write_cosines
from methods.firp.streams import Streams
from methods.shared.accuracy import measure
from methods.shared.choices import read_values
from methods.shared.trees import Prediction, Trace, grow, replay


class Bigrams:
    """Next-token counts of the train answers."""

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
        """The ``drafts`` most probable token paths after ``root``."""
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
        """Decode the answers with this table in FIRP's place."""
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
    found = [
        replay(asked, grow(known, drafts, steps))
        for asked, known in (halves, tuple(reversed(halves)))
    ]
    return Prediction(sum(f.steps for f in found), sum(f.tokens for f in found))


def examine(job: Job) -> None:
    """Replay trained maps and those that learnt less, and compare their states with real ones.

    Writes learnt.csv and cosine.csv. Every drafter has its own best static tree, of as many drafts
    as tuning chose. Without the answers that were learnt from there is no table of bigrams.
    """
    maps = load(job.folder, job.target.hidden_size, job.target.weights_hash)
    plain = Projections(maps.layout, job.target.hidden_size, len(job.target.layers))
    size, cosines = job.settings.evaluation_batch, Cosines()
    traces: dict[str, Sequence[Trace]] = {}
    for name, held in (("firp", maps), ("identity", plain)):
        streams = Streams(job.target, held.to(job.target.device))
        steps = maps.layout.steps
        found = measure(streams.predict, job.tune, steps, job.target.device, size)
        traces[name] = found.traces
        add_similarities(cosines, name, streams, job.tune, size)
    add_today(cosines, streams, job.tune, size)
    write_cosines(cosines, job.folder / COSINE)
    drafts = read_values(job.folder, ("drafts",))["drafts"]
    _write_learnt(job, traces, drafts, maps.layout.steps)


def _write_learnt(job: Job, traces: dict[str, Sequence[Trace]], drafts: int, steps: int) -> None:
    found = {name: _cross_fit(trace, drafts, steps) for name, trace in traces.items()}
    if job.train:
        found["bigram"] = Bigrams(job.train).replay(job.tune, drafts, steps)
    with replacing(job.folder / LEARNT) as temporary, temporary.open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["drafter", "draft_size", "acceptance_length", "firp_over_it"])
        for name, prediction in found.items():
            ratio = found["firp"].acceptance_length / prediction.acceptance_length
            rows.writerow([name, drafts, f"{prediction.acceptance_length:.4f}", f"{ratio:.4f}"])
            print(f"firp learnt: {name} accepts {prediction.acceptance_length:.3f} tokens per step")
