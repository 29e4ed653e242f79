"""Searching the skip set by Bayesian optimisation (arXiv 2309.08168, section 4.2), with optuna.

The authors model the objective by a Gaussian process; here it is optuna's tree-structured Parzen
estimator, since the points are sets of up to 160 sublayers to skip or to keep.
The objective is the foretold time per token of decoding tune requests: decoding counts the steps
and drafts, and one calibration gives their seconds. The trials are therefore a function of seed and
calibration, whatever their number, and an interrupted search resumes where it stopped.
"""

import fcntl
import math
import time
import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from io import FileIO
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from harness.decoder import collect
from harness.engine import EngineDecoder
from harness.engine.stack import Sublayer
from harness.files import sha256_json, write_csv
from harness.method import Job
from methods.self_speculative.calibration import Calibration
from methods.self_speculative.drafter import KINDS, ExitRule, SkipDrafter, kept
from methods.self_speculative.published import LAYERS as PUBLISHED_LAYERS
from methods.self_speculative.published import PUBLISHED

SECONDS = "seconds"
AUTHORS = (12, 0.6)  # most drafts and initial threshold in the authors' evaluation notebooks
_WAITING = optuna.trial.TrialState.WAITING


@dataclass(frozen=True, slots=True)
class Space:
    """What is searched besides the skip set, and for how long: without a limit of seconds, at most
    ``trials`` points, and no more once ``patience`` points in a row were no better than the best.
    A trial decodes at most ``tokens`` tokens of each of the first ``requests`` requests.
    """

    longest: tuple[int, ...]
    thresholds: tuple[float, ...]
    requests: int
    trials: int
    patience: int
    carried: bool = False
    tokens: int = 32

    def points(self, layers: int) -> int:
        """Number of points to try for a target of ``layers`` layers."""
        return int(2 ** (len(KINDS) * layers)) * len(self.longest) * len(self.thresholds)


@dataclass(frozen=True, slots=True)
class Found:
    """A point: a way of drafting, and its foretold seconds per token, NaN if not computed."""

    skipped: tuple[Sublayer, ...]
    longest: int
    threshold: float
    seconds_per_token: float = math.nan


def search(
    job: Job, calibration: Calibration, space: Space, journal: Path
) -> tuple[list[Found], float]:
    """All points tried, the best first, and the seconds of the trials that ``journal`` held before.

    The journal keeps all trials. A point that the sampler proposes again is not decoded again. If
    the job's seconds are limited, the search ends when they are over or every point was tried;
    trials of an interrupted search count with the seconds that they took.
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
        value = values.get(_point(trial))
        if value is None:
            value = seconds_per_token(job, calibration, kept(layers, skipped), rule, space)
        trial.set_user_attr(SECONDS, time.monotonic() - began)
        return value

    starts = _starts(layers, space, job.seed % 2)
    earlier = seconds_taken(study.trials)
    limited, points = job.seconds is not None, space.points(layers)
    while _goes_on(done := _complete(study), space, points, limited=limited) and (
        not done or job.seconds_left > earlier
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            # A new sampler for each trial, so that a resumed search draws as an unbroken one does.
            study.sampler = optuna.samplers.TPESampler(
                seed=job.seed * 10_007 + len(done), multivariate=True, constant_liar=False
            )
        if len(done) < len(starts) and not study.get_trials(states=(_WAITING,)):
            study.enqueue_trial(starts[len(done)])
        values = {_point(trial): trial.value for trial in done}
        began = time.monotonic()
        with _writing(journal):
            study.optimize(objective, n_trials=1)
    tried = [_as_found(trial, layers) for trial in _first_of_each(done)]
    return sorted(tried, key=lambda point: point.seconds_per_token), earlier


@contextmanager
def _writing(journal: Path) -> Iterator[None]:
    """Add the journal's path to an error of writing it, which optuna leaves out."""
    try:
        yield
    except OSError as error:
        if error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(journal)) from error


def write_search(path: Path, found: Sequence[Found]) -> None:
    """Write one line per point of ``found``, which has the best first."""
    lines = []
    for point in found:
        skipped = " ".join(f"{kind}:{layer}" for layer, kind in point.skipped)
        lines.append([f"{point.seconds_per_token:.7f}", point.longest, point.threshold, skipped])
    write_csv(path, ["foretold_seconds_per_token", "longest", "threshold", "skipped"], lines)


def seconds_taken(trials: list[optuna.trial.FrozenTrial]) -> float:
    """Seconds of the trials that ended, by a clock that is never set back, as optuna's may be."""
    return sum(trial.user_attrs.get(SECONDS, 0.0) for trial in trials)


class _Lock(JournalFileOpenLock):
    """A lock held by the kernel, so that a killed search leaves none, unlike optuna's own lock."""

    def acquire(self) -> bool:
        self._stream = FileIO(self._lock_file, "a")
        fcntl.flock(self._stream, fcntl.LOCK_EX)
        return True

    def release(self) -> None:
        self._stream.close()


def _storage(journal: Path) -> JournalStorage:
    """The trials in ``journal``; a last line that a kill cut short is removed from the file."""
    if journal.is_file():
        with journal.open("r+b") as stream:
            stream.truncate(stream.read().rfind(b"\n") + 1)
    return JournalStorage(JournalFileBackend(str(journal), _Lock(str(journal))))


def _complete(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    return study.get_trials(states=(optuna.trial.TrialState.COMPLETE,))


def _point(trial: optuna.trial.BaseTrial) -> tuple[tuple[str, Any], ...]:
    """The point that a trial tries, as a key: its parameters in the order of their names."""
    return tuple(sorted(trial.params.items()))


def _first_of_each(done: list[optuna.trial.FrozenTrial]) -> list[optuna.trial.FrozenTrial]:
    """The trials in order, without those that repeat an earlier point."""
    first: dict[Any, optuna.trial.FrozenTrial] = {}
    for trial in done:
        first.setdefault(_point(trial), trial)
    return list(first.values())


def _goes_on(
    done: list[optuna.trial.FrozenTrial], space: Space, most: int, *, limited: bool
) -> bool:
    """Whether another trial is due. With a limit of seconds (``limited``) one is, until ``most``
    points were tried. Without one the search also ends after ``space.trials`` points, after
    ``space.patience`` points in a row that did not improve on the best one, and after as many
    trials in a row that repeated earlier points.
    """
    if not done:
        return True
    points = _first_of_each(done)
    best = min(range(len(points)), key=lambda i: points[i].value or 0.0)
    repeats = len(done) - 1 - done.index(points[-1])
    return len(points) < most and (
        limited
        or (
            len(points) < space.trials
            and len(points) - 1 - best < space.patience
            and repeats < space.patience
        )
    )


def every_second_attention(layers: int) -> tuple[Sublayer, ...]:
    """A plain skip set, for a model without a searched or published one."""
    return tuple((layer, "attention") for layer in range(1, layers, 2))


def _starts(layers: int, space: Space, shift: int) -> list[dict[str, float]]:
    """Points to start with, instead of random sets: these skip about half of all sublayers, which
    no deep model survives.

    The starts skip every second attention; in the middle half of the layers every second attention,
    every attention, or every second attention and the MLPs of the layers between; and the authors'
    sets, if the target has as many layers as theirs. ``shift``: by how many layers all but the
    authors' sets are moved up, so that two searches do not begin alike. Most drafts and threshold
    are the values in ``space`` that come nearest to the authors'.
    """
    starts = []
    middle = range(layers // 4 + shift, layers - layers // 4 + shift)
    longest, threshold = (
        min(values, key=lambda value: abs(value - usual))
        for values, usual in zip((space.longest, space.thresholds), AUTHORS, strict=True)
    )
    for attention, mlp in (
        (range(1 + shift, layers, 2), ()),
        (middle[::2], ()),
        (middle, ()),
        (middle[::2], middle[1::2]),
        *(_by_kind(skip_set) for skip_set in PUBLISHED.values() if layers == PUBLISHED_LAYERS),
    ):
        skipped = {"attention": set(attention), "mlp": set(mlp)}
        start: dict[str, float] = {
            **{f"skip {k} {i}": i in skipped[k] for k in KINDS for i in range(layers)},
            "longest": longest,
            "threshold": threshold,
        }
        if start not in starts:  # in small targets two sets may be one
            starts.append(start)
    return starts


def _by_kind(skipped: Collection[Sublayer]) -> tuple[list[int], list[int]]:
    """Layers whose attention, and whose MLP, is skipped."""
    attention, mlp = ([layer for layer, of in skipped if of == kind] for kind in KINDS)
    return attention, mlp


def _study_name(job: Job, calibration: Calibration, space: Space) -> str:
    """A hash of what two searches must share for one to go on with the other's trials."""
    shared = {**asdict(space), "trials": None, "patience": None}
    requests = [(r.prompt_ids, r.max_new_tokens) for r in job.requests[: space.requests]]
    return sha256_json([job.seed, job.target.weights_hash, asdict(calibration), shared, requests])


def seconds_per_token(
    job: Job,
    calibration: Calibration,
    keep: Collection[Sublayer],
    rule: ExitRule,
    space: Space,
) -> float:
    """Foretold decode seconds per token over the tune requests and tokens that ``space`` names."""
    decoder = EngineDecoder(job.target, SkipDrafter(job.target, keep, rule))
    draft, seconds, tokens = calibration.draft(keep), 0.0, 0
    for request in job.requests[: space.requests]:
        short = replace(request, max_new_tokens=min(space.tokens, request.max_new_tokens))
        _, records = collect(decoder, short)
        decoder.remember(records)
        for record in records[1:]:
            seconds += record.draft_size * draft + calibration.verify[record.draft_size]
            tokens += len(record.tokens)
    return seconds / max(1, tokens)


def _as_found(trial: optuna.trial.FrozenTrial, layers: int) -> Found:
    skipped = tuple(
        (layer, kind)
        for kind in KINDS
        for layer in range(layers)
        if trial.params[f"skip {kind} {layer}"]
    )
    assert trial.value is not None
    return Found(skipped, trial.params["longest"], trial.params["threshold"], trial.value)
