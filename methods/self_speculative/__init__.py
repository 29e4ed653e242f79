"""Self-speculative decoding (Draft & Verify, Zhang et al., arXiv 2309.08168).

``drafter`` the method in the engine, ``search`` + ``cost`` how the skip set is found,
``published`` the authors' sets.
"""

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.decoder import Decoder
from harness.engine.loop import EngineDecoder
from harness.engine.target import Target
from harness.errors import HarnessError
from harness.files import write_json
from harness.measure.trials import Trial, choose
from harness.method import Job, Method
from methods.self_speculative.cost import calibrate
from methods.self_speculative.drafter import ExitRule, SkipDrafter, kept
from methods.self_speculative.published import PUBLISHED
from methods.self_speculative.search import (
    Found,
    Space,
    every_second_attention,
    search,
    write_search,
)
from methods.shared.choices import SETTING, check_options, read_values

CALIBRATION, JOURNAL, SEARCH = "calibration.json", "search.journal", "search.csv"
VALUES = ("skipped", "longest", "threshold", "carried")
TIMED = 8  # the best of the search that are timed
AUTHORS = (12, 0.6)  # drafts at most and first threshold in the authors' evaluation notebooks


@dataclass(frozen=True, slots=True)
class Settings:
    """``skip_set``: ``search``, or the name of a published set. ``longest`` and ``thresholds`` are
    searched with it: drafts at most, and the confidence below which drafting stops. ``carried``
    keeps the adapted threshold from prompt to prompt; the best candidate is timed the other way
    too. The search ends after ``search_trials``, or when ``search_patience`` in a row found nothing
    better; a trial decodes ``search_tokens`` (the authors' 32) of ``search_requests``.
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
        check_options(
            "self_speculative", "skip_set", (self.skip_set,), ("search", *sorted(PUBLISHED))
        )
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


def tune(job: Job) -> float:
    """Search, then time the best; writes the calibration, the search's trials, trials, setting.

    Returns the seconds of an interrupted search that this one went on with.
    """
    settings: Settings = job.settings
    job.folder.mkdir(parents=True, exist_ok=True)
    candidates, earlier = _candidates(job)
    trials = [_trial(job, found, carried=settings.carried) for found in candidates]
    trials += [_trial(job, found, carried=not settings.carried) for found in candidates[:1]]
    plain = PUBLISHED.get(settings.skip_set) or every_second_attention(len(job.target.layers))
    trials.append(_trial(job, Found(tuple(sorted(plain)), *AUTHORS), carried=True))
    trials[-1].default = True
    best = choose(job, "self_speculative", trials, settings.tuning_rounds)
    write_json(job.folder / SETTING, best.setting)
    for name in (JOURNAL, f"{JOURNAL}.lock"):
        (job.folder / name).unlink(missing_ok=True)
    return earlier


def _trial(job: Job, found: Found, *, carried: bool) -> Trial:
    setting = {
        "sublayers_skipped": len(found.skipped),
        "longest": found.longest,
        "threshold": found.threshold,
        "carried": carried,
        "skipped": [list(sublayer) for sublayer in found.skipped],
    }
    return Trial(setting, _decoder(job.target, setting))


def _candidates(job: Job) -> tuple[list[Found], float]:
    """What is worth timing, and the seconds of an interrupted search before this one."""
    settings: Settings = job.settings
    if settings.skip_set != "search":
        skipped = tuple(sorted(PUBLISHED[settings.skip_set]))
        pairs = itertools.product(settings.longest, settings.thresholds)
        return [Found(skipped, longest, threshold) for longest, threshold in pairs], 0.0
    calibration = calibrate(job, max(settings.longest), job.folder / CALIBRATION)
    space = Space(
        settings.longest,
        settings.thresholds,
        settings.search_requests,
        settings.search_trials,
        settings.search_patience,
        settings.carried,
        settings.search_tokens,
    )
    found, earlier = search(job, calibration, space, job.folder / JOURNAL)
    write_search(job.folder / SEARCH, found)
    return found[:TIMED], earlier


METHOD = Method(build, Settings, tune=tune)
