"""Choosing a method's setting on the tune split, by measured decode time.

All candidates are timed on a fifth of the requests; the best four, and the method's published
setting where it has one, on all of them. Within a request the order is random, and autoregressive
decoding takes its turn. The test split is never read.
"""

import csv
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from harness.decoder import Decoder, Request
from harness.engine.drafter import Drafter
from harness.engine.loop import EngineDecoder
from harness.files import replacing
from harness.measure.timing import TimedRun, run_timed
from harness.method import Job

TRIALS = "trials.csv"
FINALISTS, SCREENED = 4, 5


@dataclass(slots=True)
class Trial:
    """A candidate, its decode-phase totals, and those of autoregressive decoding of the same
    requests.

    ``setting`` is what ``setting.json`` will hold if it wins; ``predicted`` an acceptance length
    foretold from rank traces, if any; ``default`` marks the setting that the method's authors use,
    or where they name none for such a target, the plainest.
    """

    setting: dict[str, Any]
    decoder: Decoder
    predicted: float | None = None
    default: bool = False
    requests: int = 0
    seconds: float = 0.0
    baseline_seconds: float = 0.0
    tokens: int = 0
    steps: int = 0
    rows: int = 0

    @property
    def speedup(self) -> float:
        """Over autoregressive decoding of the same requests; 0 before anything was timed."""
        return self.baseline_seconds / self.seconds if self.seconds else 0.0

    @property
    def acceptance_length(self) -> float:
        """Tokens committed per decode-phase step."""
        return self.tokens / self.steps if self.steps else 0.0

    def restart(self) -> None:
        """Forget the screening: a finalist is judged on all requests alike."""
        self.requests = self.tokens = self.steps = self.rows = 0
        self.seconds = self.baseline_seconds = 0.0

    def add(self, run: TimedRun, baseline: TimedRun) -> None:
        """Count one request, which autoregressive decoding answered in the same round."""
        self.requests += 1
        self.seconds += run.decode_seconds
        self.baseline_seconds += baseline.decode_seconds
        self.tokens += len(run.tokens) - len(run.records[0].tokens)
        self.steps += len(run.records) - 1
        self.rows += sum(record.rows for record in run.records[1:])


def choose(job: Job, name: str, trials: list[Trial], rounds: int = 1) -> Trial:
    """The fastest of ``trials``; writes all of them to ``trials.csv`` in the job's folder.

    Finalists go ``rounds`` times through all requests, or once where the job's seconds are spent.
    """
    rng = random.Random(job.seed)
    time_trials(job, name, trials, job.requests[::SCREENED], rng)
    finalists = sorted(trials, key=lambda trial: -trial.speedup)[:FINALISTS]
    finalists += [trial for trial in trials if trial.default and trial not in finalists]
    for trial in finalists:
        trial.restart()
    for _ in range(rounds):
        started = time.monotonic()
        time_trials(job, name, finalists, job.requests, rng)
        if time.monotonic() - started > job.seconds_left:
            break
    best = max(finalists, key=lambda trial: trial.speedup)
    _write(job.folder / TRIALS, trials, best)
    return best


def time_trials(
    job: Job, name: str, trials: list[Trial], requests: Sequence[Request], rng: random.Random
) -> None:
    """Every trial and autoregressive decoding on every request, in a random order each time."""
    decoders: list[tuple[Trial | None, Decoder]] = [(trial, trial.decoder) for trial in trials]
    decoders.append((None, EngineDecoder(job.target, Drafter())))  # autoregressive
    for _, decoder in decoders:
        run_timed(decoder, job.requests[0], job.target.device)  # warm-up: masks, layouts, arena
    for request in tqdm(requests, desc=f"{name} tuning", unit="prompt"):
        order = rng.sample(decoders, len(decoders))
        runs = [(trial, run_timed(decoder, request, job.target.device)) for trial, decoder in order]
        (baseline,) = (run for trial, run in runs if trial is None)
        for trial, run in runs:
            if trial is not None:
                trial.add(run, baseline)
                trial.decoder.remember(run.records)


def _write(path: Path, trials: list[Trial], best: Trial) -> None:
    """One line per trial: its role, the plain values of its setting, then what was measured."""
    keys = [k for k, v in trials[0].setting.items() if isinstance(v, str | int | float)]
    with replacing(path) as temporary, temporary.open("w", newline="") as stream:
        rows = csv.writer(stream)
        measured = "requests speedup acceptance_length predicted_acceptance_length".split()
        rows.writerow(["role", *keys, *measured])
        for trial in trials:
            foretold = "" if trial.predicted is None else f"{trial.predicted:.4f}"
            figures = [f"{trial.speedup:.4f}", f"{trial.acceptance_length:.4f}", foretold]
            roles = {"chosen": trial is best, "default": trial.default}
            role = " ".join(name for name, held in roles.items() if held)
            rows.writerow([role, *(trial.setting[k] for k in keys), trial.requests, *figures])
