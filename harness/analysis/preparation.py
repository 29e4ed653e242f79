"""Training and tuning of each method before it can decode: seconds, candidates, chosen settings."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd

from harness.experiment.folder import CONFIG, SPENT, TRIALS, Folder
from harness.experiment.steps import Outline

COLUMNS = (
    "model method parts training_seconds training_budget_seconds tuning_seconds budget_seconds "
    "candidates default "
    "default_speedup default_acceptance_length chosen chosen_speedup chosen_acceptance_length"
).split()
Written: TypeAlias = dict[str, Any]  # a JSON file of a method's training or tuning
_MEASURED = (
    "role requests speedup acceptance_length predicted_acceptance_length predicted_speedup"
).split()


@dataclass(frozen=True, slots=True)
class Prepared:
    """Whose training and tuning each arm of an experiment decodes with (``uses``), and whether it
    was trained and tuned at all. An arm that is not in ``uses`` has its own.
    """

    folder: Folder
    uses: Mapping[str, str]
    trained: Mapping[str, bool] = field(default_factory=dict)
    tuned: Mapping[str, bool] = field(default_factory=dict)

    def by(self, arm: str) -> str:
        """The arm or method whose training and tuning an arm decodes with."""
        return self.uses.get(arm, arm)

    def file(self, model: str, arm: str, name: str) -> Path:
        """A file that the training or tuning behind an arm wrote."""
        return self.folder.method(model, self.by(arm), name)

    def read(self, model: str, arm: str, name: str) -> Written:
        """That file, parsed; empty where there is none."""
        file = self.file(model, arm, name)
        return self.folder.read_json(file) if file.is_file() else {}

    def trials(self, model: str, arm: str) -> pd.DataFrame:
        """The settings that the tuning behind an arm tried, with empty text for what was not
        measured; no lines where it tried none.
        """
        file = self.file(model, arm, TRIALS)
        return self.folder.read_words(file) if file.is_file() else pd.DataFrame(columns=_MEASURED)


def preparation(prepared: Prepared, outline: Outline) -> pd.DataFrame:
    """One line per model and method that was trained or tuned; trials are on the tune split.

    ``default``: the candidate that the method itself marks so, its authors' setting if they have
    one; without figures where it was timed on fewer prompts than the chosen one.
    """
    methods = dict.fromkeys(map(prepared.by, outline["methods"]))
    lines = [
        _line(prepared, model, method)
        for model in outline["models"]
        for method in methods
        if prepared.file(model, method, CONFIG).parent.is_dir()
    ]
    return pd.DataFrame(lines, columns=COLUMNS)


def arm_costs(prepared: Prepared, model: str, arm: str) -> dict[str, float]:
    """Trainable parameters, and seconds of the training and tuning behind an arm.

    For an arm that decodes with another method's parts these are the other method's.
    """
    config, spent = (prepared.read(model, arm, name) for name in (CONFIG, SPENT))
    return {
        "trainable_parameters": config.get("trainable_parameters", math.nan),
        "training_seconds": config.get("training_seconds", math.nan),
        "tuning_seconds": spent.get("tuning_seconds", math.nan),
    }


def break_even(
    prepared: Prepared, arm: str, line: Mapping[str, float], baseline_rate: float
) -> float:
    """Decoded tokens after which an arm has saved the seconds that its training and tuning took.

    NaN where nothing was spent, for an unknown cost, and where the speedup's interval is not all
    above 1. ``line``: the arm's line of the summary; ``baseline_rate``: tokens per second.
    """
    spent = (line["training_seconds"] if prepared.trained[arm] else 0.0) + (
        line["tuning_seconds"] if prepared.tuned[arm] else 0.0
    )
    if not spent > 0 or not line["speedup_ci_low"] > 1:
        return math.nan
    return float(spent * baseline_rate / (1 - 1 / line["speedup"]))


def _line(prepared: Prepared, model: str, method: str) -> dict[str, object]:
    config, spent = (prepared.read(model, method, name) for name in (CONFIG, SPENT))
    line: dict[str, object] = {
        "model": model,
        "method": method,
        "parts": _made(config),
        "training_seconds": config.get("training_seconds"),
        "training_budget_seconds": spent.get("training_budget_seconds"),
        "tuning_seconds": spent.get("tuning_seconds"),
        "budget_seconds": spent.get("budget_seconds"),
    }
    trials = prepared.trials(model, method)
    if len(trials):
        line["candidates"] = len(trials)
        line |= _trial(trials, "default") | _trial(trials, "chosen")
        if _requests(trials, "default") != _requests(trials, "chosen"):  # of other prompts
            line |= {"default_speedup": None, "default_acceptance_length": None}
    return line


def _made(config: Written) -> str | None:
    """Where an arm's parts come from; None for one that learns nothing."""
    if "pretrained" in config:
        return "published"
    if "training_seconds" not in config:
        return None
    return "shipped" if config.get("shipped") else "trained"


def _requests(trials: pd.DataFrame, role: str) -> str | None:
    """On how many requests the trial with that role was timed, as text; None without one."""
    matches = trials[trials["role"].str.contains(role)]
    return None if matches.empty else str(matches["requests"].iloc[0])


def _trial(trials: pd.DataFrame, role: str) -> dict[str, object]:
    """The setting, in words, and the figures of the trial with that role; empty without one."""
    matches = trials[trials["role"].str.contains(role)]
    if matches.empty:
        return {}
    trial = matches.iloc[0]
    keys = [key for key in trials if key not in _MEASURED and trial[key] != ""]
    setting = [f"{key.replace('_', ' ')} {trial[key]}" for key in keys]
    return {
        role: ", ".join(setting),
        f"{role}_speedup": float(trial["speedup"]),
        f"{role}_acceptance_length": float(trial["acceptance_length"]),
    }
