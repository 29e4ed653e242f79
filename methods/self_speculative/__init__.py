"""Self-speculative decoding (Draft & Verify, Zhang et al., arXiv 2309.08168).

``drafter`` the method in the engine, ``search`` + ``cost`` how the skip set is found, which is this
method's training; ``published`` the authors' sets.
"""

import re
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from harness.engine import Decoder, EngineDecoder, Sublayer, Target
from harness.errors import HarnessError
from harness.files import checked, read_json, write_json
from harness.method import Job, Method
from methods.self_speculative.cost import Calibration, calibrate
from methods.self_speculative.drafter import KINDS, ExitRule, SkipDrafter, kept
from methods.self_speculative.published import PUBLISHED
from methods.self_speculative.search import (
    Found,
    Space,
    every_second_attention,
    search,
    seconds_per_token,
    write_search,
)
from methods.shared.choices import SETTING, check_options, read_values
from methods.shared.trials import SKETCHED, Trial, choose

CONFIG, CALIBRATION, SEARCH = "config.json", "calibration.json", "search.csv"
JOURNALS = ("search-0.journal", "search-1.journal")  # of one search each, with a seed of its own
VALUES = ("skipped", "longest", "threshold", "carried")
EXIT = re.compile(r"exit:([1-9]\d*)")
KEPT = 8  # the best of the search, which tuning looks at
AUTHORS = (12, 0.6)  # drafts at most and first threshold in the authors' evaluation notebooks


@dataclass(frozen=True, slots=True)
class Settings:
    """``skip_set``: ``search``, the name of a published set, or ``exit:E``: everything from layer E
    on, which leaves the target's first layers and its head to draft. ``longest`` and ``thresholds``
    are searched with it: drafts at most, and the confidence below which drafting stops. ``carried``
    keeps the adapted threshold from prompt to prompt; the best candidate is timed the other way
    too. Two searches with seeds of their own share the seconds of the job; without a budget each
    ends after ``search_trials``, or when ``search_patience`` in a row found nothing better. A trial
    decodes ``search_tokens`` (the authors' 32) of ``search_requests``.
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
            known = ("search", *sorted(PUBLISHED), "exit:E")
            check_options("self_speculative", "skip_set", (self.skip_set,), known)
        if not self.longest or min(self.longest) < 1 or not self.thresholds:
            raise HarnessError(
                f"methods.self_speculative: longest {list(self.longest)}, thresholds "
                f"{list(self.thresholds)}; expected at least one each, longest >= 1"
            )


def _decoder(target: Target, setting: dict[str, Any]) -> EngineDecoder:
    skipped = [(int(layer), str(kind)) for layer, kind in setting["skipped"]]
    rule = ExitRule(setting["longest"], setting["threshold"], setting["carried"])
    return EngineDecoder(target, SkipDrafter(target, kept(len(target.layers), skipped), rule))


def build(target: Target, settings: Settings, folder: Path | None) -> Decoder:
    """The skip set that the search and the timing chose."""
    if folder is None:
        raise HarnessError("self_speculative: not tuned; expected the folder of its tuning")
    return _decoder(target, read_values(folder, VALUES))


def train(job: Job) -> None:
    """Search the skip sets; writes the search's points, and the best of them to ``config.json``."""
    settings: Settings = job.settings
    job.folder.mkdir(parents=True, exist_ok=True)
    named = _named(settings, len(job.target.layers))
    earlier, found = 0.0, [Found(named, *AUTHORS, 0.0)] if named else []
    if not found:
        calibration = _calibration(job)
        space = _space(settings)
        for number, name in enumerate(JOURNALS):
            share = None if job.seconds is None else _share(job, number) - earlier
            own = replace(job, seed=2 * job.seed + number, seconds=share)
            points, before = search(own, calibration, space, job.folder / name)
            earlier += before
            found += points
        found.sort(key=lambda point: point.seconds_per_token)
        write_search(job.folder / SEARCH, found)
    facts = {
        "target_hash": job.target.weights_hash,
        "data_hash": job.data_hash,
        "seed": job.seed,
        "skip_sets": [asdict(point) for point in found[:KEPT]],
    }
    if settings.skip_set == "search":
        facts |= {
            "points": len(found),
            "training_seconds": round(earlier + time.monotonic() - job.started, 1),
        }
    write_json(job.folder / CONFIG, facts)
    for name in JOURNALS:
        for file in (name, f"{name}.lock"):
            (job.folder / file).unlink(missing_ok=True)


def _named(settings: Settings, layers: int) -> tuple[Sublayer, ...]:
    """The set that the settings name; empty where one is searched."""
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
    """Seconds after the job's start at which the search of that number ends, so that all that are
    still to come get equal parts of what is left.
    """
    assert job.seconds is not None
    to_come = len(JOURNALS) - number
    return job.seconds - job.seconds_left * (to_come - 1) / to_come


def tune(job: Job) -> None:
    """Foretell the searched sets and the thresholds of the best one, time the best of these; writes
    the calibration of this machine, trials and setting.
    """
    settings: Settings = job.settings
    calibration = _calibration(job)
    candidates = _candidates(job)
    space = replace(_space(settings), requests=min(SKETCHED, settings.search_requests))
    trials = [
        _trial(job, calibration, space, found, carried=settings.carried) for found in candidates
    ]
    best = max(trials, key=lambda trial: trial.foretold or 0.0)
    turned = candidates[trials.index(best)]
    trials.append(_trial(job, calibration, space, turned, carried=not settings.carried))
    layers = len(job.target.layers)
    plain = _named(settings, layers) or tuple(sorted(every_second_attention(layers)))
    default = Found(plain, *AUTHORS)
    trials.append(_trial(job, calibration, space, default, carried=True))
    trials[-1].default = True
    chosen = choose(job, "self_speculative", trials, settings.tuning_rounds)
    write_json(job.folder / SETTING, chosen.setting)


def _trial(
    job: Job, calibration: Calibration, space: Space, found: Found, *, carried: bool
) -> Trial:
    setting = {
        "sublayers_skipped": len(found.skipped),
        "longest": found.longest,
        "threshold": found.threshold,
        "carried": carried,
        "skipped": [list(sublayer) for sublayer in found.skipped],
    }
    decoder = _decoder(job.target, setting)
    keep = kept(len(job.target.layers), found.skipped)
    rule = ExitRule(found.longest, found.threshold, carried)
    seconds = seconds_per_token(job, calibration, keep, rule, space)
    return Trial(setting, decoder, foretold=calibration.verify[0] / seconds)


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
    """The sets that training kept, and the best of them with every other threshold and number of
    drafts: which are best depends on what a forward costs here.
    """
    settings: Settings = job.settings
    file = job.folder / CONFIG
    facts = checked(dict[str, Any], read_json(file), str(file))
    if facts.get("target_hash") != job.target.weights_hash:
        raise HarnessError(
            f"{file}: skip sets of target {facts.get('target_hash')}, expected "
            f"{job.target.weights_hash}"
        )
    found = checked(list[Found], facts.get("skip_sets"), f"{file}: skip_sets", strict=False)
    if not found:
        raise HarnessError(f"{file}: skip_sets is empty, expected at least one")
    first = found[0]
    found += [replace(first, threshold=threshold) for threshold in settings.thresholds]
    found += [replace(first, longest=longest) for longest in settings.longest]
    return list({(one.skipped, one.longest, one.threshold): one for one in found}.values())


def plain(settings: Settings, folder: Path | None) -> dict[str, Any]:
    """The best skip set of the search, as the search found it."""
    assert folder is not None
    best = read_values(folder, ("skip_sets",), CONFIG)["skip_sets"][0]
    return {**best, "carried": False}


METHOD = Method(build, Settings, train=train, tune=tune, plain=plain)
