"""Searching the skip set by Bayesian optimisation (arXiv 2309.08168, section 4.2), with optuna.

The objective is what decoding the tune requests would take: steps and drafts are counted by
decoding, their seconds come from one calibration. So the trials are a function of seed and
calibration, whatever their number; a search that was interrupted goes on where it was.
"""

import csv
import fcntl
import math
import time
import warnings
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from io import FileIO
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from harness.decoder import collect
from harness.engine.loop import EngineDecoder
from harness.engine.target import Sublayer
from harness.files import replacing, sha256_json
from harness.method import Job
from methods.self_speculative.cost import Calibration
from methods.self_speculative.drafter import KINDS, ExitRule, SkipDrafter, kept

SECONDS = "seconds"
_WAITING = optuna.trial.TrialState.WAITING


@dataclass(frozen=True, slots=True)
class Space:
    """What is searched besides the skip set, and how long: ``trials`` at most, and no more once
    ``patience`` of them in a row found nothing better.
    """

    longest: tuple[int, ...]
    thresholds: tuple[float, ...]
    requests: int
    trials: int
    patience: int
    carried: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """A way of drafting and the seconds per token that the objective foretells, if asked."""

    skipped: tuple[Sublayer, ...]
    longest: int
    threshold: float
    seconds_per_token: float = math.nan


def search(
    job: Job, calibration: Calibration, space: Space, journal: Path
) -> tuple[list[Found], float]:
    """All trials, the best first, and the seconds of those found in ``journal``, which keeps them.

    Where the job's seconds are limited, a third of them is left for timing the best; trials of an
    interrupted search count with the seconds that they took.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    layers = len(job.target.layers)
    study = optuna.create_study(
        study_name=_study_name(job, calibration, space),
        storage=_storage(journal),
        load_if_exists=True,
    )

    def objective(trial: optuna.Trial) -> float:
        skipped = [
            (layer, kind)
            for kind in KINDS
            for layer in range(layers)
            if trial.suggest_categorical(f"skip {kind} {layer}", (False, True))
        ]
        rule = ExitRule(
            longest=trial.suggest_categorical("longest", space.longest),
            threshold=trial.suggest_categorical("threshold", space.thresholds),
            carried=space.carried,
        )
        found = seconds_per_token(job, calibration, kept(layers, skipped), rule, space.requests)
        trial.set_user_attr(SECONDS, time.monotonic() - began)
        return found

    starts = _starts(layers, space)
    earlier = seconds_taken(study.trials)
    reserve = earlier + (0.0 if job.seconds is None else job.seconds / 3)
    while _goes_on(done := _complete(study), space) and (not done or job.seconds_left > reserve):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            # A sampler of its own for each trial: a resumed search draws as an unbroken one.
            study.sampler = optuna.samplers.TPESampler(
                seed=job.seed * 10_007 + len(done), multivariate=True, constant_liar=False
            )
        if len(done) < len(starts) and not study.get_trials(states=(_WAITING,)):
            study.enqueue_trial(starts[len(done)])
        began = time.monotonic()
        study.optimize(objective, n_trials=1)
    found = sorted((_found(trial, layers) for trial in done), key=lambda f: f.seconds_per_token)
    return found, earlier


def write_search(path: Path, found: Sequence[Found]) -> None:
    """One line per trial, the best first."""
    with replacing(path) as temporary, temporary.open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["foretold_seconds_per_token", "longest", "threshold", "skipped"])
        for one in found:
            skipped = " ".join(f"{kind}:{layer}" for layer, kind in one.skipped)
            rows.writerow([f"{one.seconds_per_token:.7f}", one.longest, one.threshold, skipped])


def seconds_taken(trials: list[optuna.trial.FrozenTrial]) -> float:
    """Seconds of the trials that ended; optuna's own are of a clock that may be set back."""
    return sum(trial.user_attrs.get(SECONDS, 0.0) for trial in trials)


class _Lock(JournalFileOpenLock):
    """Held by the kernel: a killed search leaves none behind, as optuna's own would."""

    def acquire(self) -> bool:
        self._stream = FileIO(self._lock_file, "a")
        fcntl.flock(self._stream, fcntl.LOCK_EX)
        return True

    def release(self) -> None:
        self._stream.close()


def _storage(journal: Path) -> JournalStorage:
    """The trials in ``journal``; a line that was torn off while it was written goes."""
    if journal.is_file():
        with journal.open("r+b") as stream:
            stream.truncate(stream.read().rfind(b"\n") + 1)
    return JournalStorage(JournalFileBackend(str(journal), _Lock(str(journal))))


def _complete(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    return study.get_trials(states=(optuna.trial.TrialState.COMPLETE,))


def _goes_on(done: list[optuna.trial.FrozenTrial], space: Space) -> bool:
    """Whether there are trials left, and the best of them is not long past."""
    if not done:
        return True
    best = min(range(len(done)), key=lambda i: done[i].value or 0.0)
    return len(done) < space.trials and len(done) - 1 - best < space.patience


def every_second_attention(layers: int) -> tuple[Sublayer, ...]:
    """A plain set where nothing is searched or published for a model."""
    return tuple((layer, "attention") for layer in range(1, layers, 2))


def _starts(layers: int, space: Space) -> list[dict[str, Any]]:
    """Sets to begin with: a random one skips half of everything, which no deep model survives.

    Every second attention; every second attention of the middle half; the same with MLPs.
    """
    starts = []
    middle = range(layers // 4, layers - layers // 4)
    for attention, mlp in (
        ([layer for layer, _ in every_second_attention(layers)], ()),
        (middle[::2], ()),
        (middle, ()),
        (middle[::2], middle[1::2]),
    ):
        skipped = {"attention": set(attention), "mlp": set(mlp)}
        start: dict[str, Any] = {
            **{f"skip {k} {i}": i in skipped[k] for k in KINDS for i in range(layers)},
            "longest": space.longest[0],
            "threshold": space.thresholds[0],
        }
        starts.append(start)
    return starts


def _study_name(job: Job, calibration: Calibration, space: Space) -> str:
    """What two searches must share for one to go on with the other's trials."""
    shared = {**asdict(space), "trials": None, "patience": None}
    requests = [(r.prompt_ids, r.max_new_tokens) for r in job.requests[: space.requests]]
    return sha256_json([job.seed, job.target.weights_hash, asdict(calibration), shared, requests])


def seconds_per_token(
    job: Job,
    calibration: Calibration,
    keep: Collection[Sublayer],
    rule: ExitRule,
    requests: int,
) -> float:
    """Foretold decode seconds per token over the first ``requests`` tune requests."""
    decoder = EngineDecoder(job.target, SkipDrafter(job.target, keep, rule))
    draft, seconds, tokens = calibration.draft(keep), 0.0, 0
    for request in job.requests[:requests]:
        _, records = collect(decoder, request)
        for record in records[1:]:
            seconds += record.draft_size * draft + calibration.verify[record.draft_size]
            tokens += len(record.tokens)
    return seconds / max(1, tokens)


def _found(trial: optuna.trial.FrozenTrial, layers: int) -> Found:
    skipped = tuple(
        (layer, kind)
        for kind in KINDS
        for layer in range(layers)
        if trial.params[f"skip {kind} {layer}"]
    )
    assert trial.value is not None
    return Found(skipped, trial.params["longest"], trial.params["threshold"], trial.value)
