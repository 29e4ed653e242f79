"""Self-speculative decoding (Draft & Verify, Zhang et al., arXiv 2309.08168).

``drafter`` is the method in the engine; ``search`` and ``calibration`` find the skip set, which is
this method's training; ``published`` holds the authors' sets.
"""

import re
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from harness.engine import Decoder, EngineDecoder, Sublayer, Target
from harness.errors import HarnessError
from harness.files import checked, read_object, write_json
from harness.method import Job, Method, Setting
from methods.self_speculative.calibration import Calibration, calibrate
from methods.self_speculative.drafter import KINDS, ExitRule, SkipDrafter, kept
from methods.self_speculative.published import PUBLISHED
from methods.self_speculative.search import (
    AUTHORS,
    Found,
    Space,
    every_second_attention,
    search,
    seconds_per_token,
    write_search,
)
from methods.shared.choices import check_options, read_values
from methods.shared.trials import SKETCHED, Trial, settle

CONFIG, CALIBRATION, SEARCH = "config.json", "calibration.json", "search.csv"
JOURNALS = ("search-0.journal", "search-1.journal")  # one per search; each search has its own seed
VALUES = ("skipped", "longest", "threshold", "carried")
EXIT = re.compile(r"exit:([1-9]\d*)")
KEPT = 8  # best points of the search, which tuning considers


@dataclass(frozen=True, slots=True)
class Settings:
    """``skip_set``: ``search``, the name of a published set, or ``exit:E``, which skips all layers
    from E on and so drafts with the target's first E layers and its head. ``longest`` (most drafts
    of a step) and ``thresholds`` (confidence below which drafting stops) are searched along with
    the skip set. ``carried`` keeps the adapted threshold from prompt to prompt; in tuning, the best
    point is a candidate with the opposite value too. Two searches, each with its own seed and
    starts, share the job's seconds. Without a budget each ends after ``search_trials`` points, or
    after ``search_patience`` points in a row without a better one. A trial decodes at most
    ``search_tokens`` tokens (the authors' 32) of each of ``search_requests`` requests.
    """

    skip_set: str = "search"
    longest: tuple[int, ...] = (2, 4, 8, 12, 16)
    thresholds: tuple[float, ...] = (0.4, 0.6, 0.8, 0.9, 0.95)
    carried: bool = False
    search_trials: int = 200
    search_patience: int = 60
    search_requests: int = 9
    search_tokens: int = 32
    tuning_rounds: int = 2

    def __post_init__(self) -> None:
        if not EXIT.fullmatch(self.skip_set):
            options = ("search", *sorted(PUBLISHED), "exit:E")
            check_options("self_speculative", "skip_set", (self.skip_set,), options)
        counts = (self.search_trials, self.search_patience, self.search_requests)
        if min(*counts, self.search_tokens) < 1:
            raise HarnessError(
                f"methods.self_speculative: search_trials, _patience, _requests {counts}, _tokens "
                f"{self.search_tokens}; expected numbers >= 1"
            )
        if not self.longest or min(self.longest) < 1 or not self.thresholds:
            raise HarnessError(
                f"methods.self_speculative: longest {list(self.longest)}, thresholds "
                f"{list(self.thresholds)}; expected at least one each, longest >= 1"
            )


def _decoder(target: Target, setting: Setting) -> EngineDecoder:
    skipped = [(int(layer), str(kind)) for layer, kind in setting["skipped"]]
    rule = ExitRule(setting["longest"], setting["threshold"], setting["carried"])
    return EngineDecoder(target, SkipDrafter(target, kept(len(target.layers), skipped), rule))


def build(target: Target, settings: Settings, folder: Path) -> Decoder:
    """Decode with the skip set and the exit rule that search and tuning chose."""
    return _decoder(target, read_values(folder, VALUES))


def train(job: Job) -> None:
    """Search the skip sets, unless the settings name one; writes all points to ``search.csv`` and
    the best of them to ``config.json``.
    """
    settings: Settings = job.settings
    job.folder.mkdir(parents=True, exist_ok=True)
    named = _named(settings, len(job.target.layers))
    earlier, candidates = 0.0, [Found(named, *AUTHORS, 0.0)] if named else []
    if not candidates:
        calibration = _calibration(job)
        space = _space(settings)
        for number, name in enumerate(JOURNALS):
            share = None if job.seconds is None else _share(job, number) - earlier
            search_job = replace(job, seed=2 * job.seed + number, seconds=share)
            points, before = search(search_job, calibration, space, job.folder / name)
            earlier += before
            candidates += points
        candidates.sort(key=lambda point: point.seconds_per_token)
        write_search(job.folder / SEARCH, candidates)
    facts = {
        "target_hash": job.target.weights_hash,
        "data_hash": job.data_hash,
        "seed": job.seed,
        "skip_sets": [asdict(point) for point in candidates[:KEPT]],
    }
    if settings.skip_set == "search":
        facts |= {
            "points": len(candidates),
            "training_seconds": round(earlier + time.monotonic() - job.started, 1),
        }
    write_json(job.folder / CONFIG, facts)
    for name in JOURNALS:
        for file in (name, f"{name}.lock"):
            (job.folder / file).unlink(missing_ok=True)


def _named(settings: Settings, layers: int) -> tuple[Sublayer, ...]:
    """The skip set that the settings name; empty where it is to be searched."""
    early = EXIT.fullmatch(settings.skip_set)
    if early is None:
        return tuple(sorted(PUBLISHED.get(settings.skip_set, ())))
    first = int(early[1])
    if first >= layers:
        raise HarnessError(
            f"methods.self_speculative.skip_set: '{settings.skip_set}', expected a layer below "
            f"{layers}, the target's number of layers"
        )
    return tuple((layer, kind) for layer in range(first, layers) for kind in KINDS)


def _share(job: Job, number: int) -> float:
    """Seconds after the job's start at which search ``number`` ends, so that it and the searches
    after it get equal parts of the time that is left.
    """
    assert job.seconds is not None
    remaining = len(JOURNALS) - number
    return job.seconds - job.seconds_left * (remaining - 1) / remaining


def tune(job: Job) -> None:
    """Foretell the speed of the searched sets, and of the best set with other exit rules; time the
    best of these. Writes the calibration of this machine, the trials and the setting.
    """
    settings: Settings = job.settings
    calibration = _calibration(job)
    candidates = _candidates(job)
    space = replace(_space(settings), requests=min(SKETCHED, settings.search_requests))
    trials = [
        _trial(job, calibration, space, point, carried=settings.carried) for point in candidates
    ]
    best = max(trials, key=lambda trial: trial.foretold or 0.0)
    best_point = candidates[trials.index(best)]
    trials.append(_trial(job, calibration, space, best_point, carried=not settings.carried))
    layers = len(job.target.layers)
    default_set = _named(settings, layers) or tuple(sorted(every_second_attention(layers)))
    default = Found(default_set, *AUTHORS)
    trials.append(_trial(job, calibration, space, default, carried=True))
    trials[-1].default = True
    settle(job, "self_speculative", trials)


def _trial(
    job: Job, calibration: Calibration, space: Space, point: Found, *, carried: bool
) -> Trial:
    setting = {
        "sublayers_skipped": len(point.skipped),
        "longest": point.longest,
        "threshold": point.threshold,
        "carried": carried,
        "skipped": [list(sublayer) for sublayer in point.skipped],
    }
    decoder = _decoder(job.target, setting)
    keep = kept(len(job.target.layers), point.skipped)
    rule = ExitRule(point.longest, point.threshold, carried)
    seconds = seconds_per_token(job, calibration, keep, rule, space)
    # No seconds: the requests' answers all end with their first token.
    return Trial(setting, decoder, foretold=calibration.verify[0] / seconds if seconds else 1.0)


def _calibration(job: Job) -> Calibration:
    longest = max(*job.settings.longest, AUTHORS[0])
    return calibrate(job, longest, job.folder / CALIBRATION)


def _space(settings: Settings) -> Space:
    return Space(
        settings.longest,
        settings.thresholds,
        settings.search_requests,
        settings.search_trials,
        settings.search_patience,
        settings.carried,
        settings.search_tokens,
    )


def _candidates(job: Job) -> list[Found]:
    """The points that training kept, and the best of them with every other threshold and with every
    other number of drafts: the best of these depends on what a forward costs on this machine.
    """
    settings: Settings = job.settings
    file = job.folder / CONFIG
    facts = read_object(file)
    if facts.get("target_hash") != job.target.weights_hash:
        raise HarnessError(
            f"{file}: skip sets of target {facts.get('target_hash')}, expected "
            f"{job.target.weights_hash}"
        )
    points = checked(list[Found], facts.get("skip_sets"), f"{file}: skip_sets", strict=False)
    if not points:
        raise HarnessError(f"{file}: skip_sets is empty, expected at least one")
    best = points[0]
    points += [replace(best, threshold=threshold) for threshold in settings.thresholds]
    points += [replace(best, longest=longest) for longest in settings.longest]
    return list({(p.skipped, p.longest, p.threshold): p for p in points}.values())


def plain(settings: Settings, folder: Path) -> Setting:
    """The setting without tuning: the best point of the search, its threshold not carried over."""
    best = read_values(folder, ("skip_sets",), CONFIG)["skip_sets"][0]
    return {**best, "carried": False}


def fits(settings: Settings, config: Any) -> None:
    """Refuse an early exit, or a published skip set, above the last layer of a target."""
    layers = int(config.num_hidden_layers)
    kept(layers, _named(settings, layers))


METHOD = Method(build, Settings, train=train, tune=tune, plain=plain, fits=fits)
