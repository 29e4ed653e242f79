"""Choosing FIRP's tree, draft size and pass on the tune split, by measured decode time.

Candidates: trees of each draft size, static (grown from rank traces) or best-first, in one or two
passes. All are timed on a fifth of the requests, the best four on all of them; within a request
the order is random. The test split is never read.
"""

import csv
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tqdm import tqdm

from harness.decoder import Decoder, Request
from harness.engine.drafter import Drafter
from harness.engine.loop import EngineDecoder
from harness.engine.target import Target
from harness.errors import HarnessError
from harness.files import read_json, replacing, write_json
from harness.measure.timing import TimedRun, run_timed
from harness.method import Job
from methods.firp.drafter import FirpDrafter
from methods.firp.learnt import write_learnt
from methods.firp.measure import measure
from methods.firp.projections import Projections, load
from methods.firp.settings import FirpSettings
from methods.firp.streams import Streams
from methods.firp.trees import BestFirstTree, RankPath, StaticTree, Trace, TreePolicy, grow, replay

SETTING, TRIALS, ACCURACY = "setting.json", "trials.csv", "rank_accuracy.csv"
FINALISTS, SCREENED = 4, 5
RANKS = 10


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way of decoding with given weights. ``paths`` are the rank paths of a static tree."""

    policy: str
    passes: str
    drafts: int
    depth: int
    paths: tuple[RankPath, ...] = ()

    def build(self, target: Target, maps: Projections) -> EngineDecoder:
        """The decoder of this candidate."""
        policy: TreePolicy
        if self.policy == "static":
            policy = StaticTree(self.paths)
        else:
            policy = BestFirstTree(self.drafts, self.depth)
        return EngineDecoder(target, FirpDrafter(target, maps, policy, self.passes))


@dataclass(slots=True)
class Trial:
    """Decode-phase totals of a candidate, and of autoregressive decoding of the same requests."""

    candidate: Candidate
    requests: int = 0
    seconds: float = 0.0
    baseline_seconds: float = 0.0
    tokens: int = 0
    steps: int = 0

    @property
    def speedup(self) -> float:
        """Over autoregressive decoding of the same requests; 0 before anything was timed."""
        return self.baseline_seconds / self.seconds if self.seconds else 0.0

    def restart(self) -> None:
        """Forget the screening: a finalist is judged on all requests alike."""
        self.requests = self.tokens = self.steps = 0
        self.seconds = self.baseline_seconds = 0.0

    def add(self, run: TimedRun, baseline: TimedRun) -> None:
        """Count one request, which autoregressive decoding answered in the same round."""
        self.requests += 1
        self.seconds += run.decode_seconds
        self.baseline_seconds += baseline.decode_seconds
        self.tokens += len(run.tokens) - 1
        self.steps += len(run.records) - 1


def candidates(settings: FirpSettings, traces: Sequence[Trace]) -> list[Candidate]:
    """Every policy, pass and draft size that the settings allow."""
    found = []
    for drafts in settings.drafts:
        for passes in settings.passes:
            if "static" in settings.policies:
                paths = tuple(grow(traces, drafts, settings.layout.steps))
                depth = max((len(path) for path in paths), default=0)
                found.append(Candidate("static", passes, drafts, depth, paths))
            if "best_first" in settings.policies:
                depth = min(drafts, settings.layout.steps)
                found.append(Candidate("best_first", passes, drafts, depth))
    return [candidate for candidate in found if candidate.depth > 0]


def tune(job: Job) -> None:
    """Trace, grow, time, choose; writes rank accuracies, trials, learnt.csv and the setting."""
    settings: FirpSettings = job.settings
    maps = load(job.folder, job.target.hidden_size, job.target.weights_hash)
    traces = measure(Streams(job.target, maps), job.tune).traces
    _write_accuracies(job.folder / ACCURACY, traces, settings.layout.steps)
    trials = [Trial(candidate) for candidate in candidates(settings, traces)]
    rng = random.Random(job.seed)
    _time(job, maps, trials, job.requests[::SCREENED], rng)
    finalists = sorted(trials, key=lambda trial: -trial.speedup)[:FINALISTS]
    for trial in finalists:
        trial.restart()
    for _ in range(settings.tuning_rounds):
        _time(job, maps, finalists, job.requests, rng)
    best = max(finalists, key=lambda trial: trial.speedup)
    _write_trials(job.folder / TRIALS, trials, traces)
    write_learnt(job, maps, traces, best.candidate.drafts)
    write_json(job.folder / SETTING, asdict(best.candidate))


def _time(
    job: Job,
    maps: Projections,
    trials: list[Trial],
    requests: Sequence[Request],
    rng: random.Random,
) -> None:
    decoders: list[tuple[Trial | None, Decoder]] = [
        (trial, trial.candidate.build(job.target, maps)) for trial in trials
    ]
    decoders.append((None, EngineDecoder(job.target, Drafter())))  # autoregressive
    for _, decoder in decoders:
        run_timed(decoder, job.requests[0], job.target.device)  # warm-up: masks, layouts, arena
    for request in tqdm(requests, desc="firp tuning", unit="prompt"):
        order = rng.sample(decoders, len(decoders))
        runs = [(trial, run_timed(decoder, request, job.target.device)) for trial, decoder in order]
        (baseline,) = (run for trial, run in runs if trial is None)
        for trial, run in runs:
            if trial is not None:
                trial.add(run, baseline)


def load_candidate(folder: Path) -> Candidate:
    """The setting that tuning chose."""
    setting = read_json(folder / SETTING)
    try:
        paths = tuple(tuple(path) for path in setting.pop("paths"))
        return Candidate(**setting, paths=paths)
    except (KeyError, TypeError) as error:
        raise HarnessError(f"{folder / SETTING}: not a FIRP setting ({error})") from None


def _write_accuracies(path: Path, traces: Sequence[Trace], steps: int) -> None:
    """Share of positions at which the answer's token has rank r at step k."""
    with replacing(path) as temporary, temporary.open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["step", "rank", "share", "positions"])
        for step in range(steps):
            found = [row[step] for trace in traces for row in trace if len(row) > step]
            for rank in range(RANKS):
                share = sum(r == rank for r in found) / max(1, len(found))
                rows.writerow([step + 1, rank, round(share, 6), len(found)])


def _write_trials(path: Path, trials: list[Trial], traces: Sequence[Trace]) -> None:
    with replacing(path) as temporary, temporary.open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(
            "policy passes drafts depth requests speedup acceptance_length "
            "predicted_acceptance_length".split()
        )
        for trial in trials:
            c = trial.candidate
            predicted = ""
            if c.policy == "static":
                predicted = f"{replay(traces, c.paths).acceptance_length:.4f}"
            rows.writerow(
                [
                    c.policy,
                    c.passes,
                    c.drafts,
                    c.depth,
                    trial.requests,
                    f"{trial.speedup:.4f}",
                    f"{trial.tokens / trial.steps:.4f}",
                    predicted,
                ]
            )
