"""What each method took before it could decode, and what that gave: training, search, settings."""

import math
from pathlib import Path
from typing import Any

import pandas as pd

from harness.files import read_json
from methods import METHODS, Entry

COLUMNS = (
    "model method parts training_seconds training_budget_seconds tuning_seconds budget_seconds "
    "candidates default "
    "default_speedup default_acceptance_length chosen chosen_speedup chosen_acceptance_length"
).split()
_MEASURED = (
    "role requests speedup acceptance_length predicted_acceptance_length predicted_speedup"
).split()


def preparation(root: Path, experiment: dict[str, Any]) -> pd.DataFrame:
    """One line per model and method that was trained or tuned; trials are of the tune split.

    ``default`` is what the method's module calls so: its authors' setting where there is one.
    """
    used = dict.fromkeys(prepared_as(method) for method in experiment["methods"])
    lines = []
    for model in experiment["models"]:
        folders = [root / "methods" / model / method for method in used]
        lines += [_line(folder) for folder in folders if folder.is_dir()]
    return pd.DataFrame(lines, columns=COLUMNS)


def arm_costs(root: Path, model: str, arm: str) -> dict[str, float]:
    """Training and search behind an arm.

    An arm that decodes with another method's parts has that method's seconds.
    """
    folder = root / "methods" / model / prepared_as(arm)
    config, spent = _read(folder / "config.json"), _read(folder / "spent.json")
    return {
        "trainable_parameters": config.get("trainable_parameters", math.nan),
        "training_seconds": config.get("training_seconds", math.nan),
        "tuning_seconds": spent.get("tuning_seconds", math.nan),
    }


def break_even(arm: str, line: dict[str, Any], baseline_rate: float) -> float:
    """Decoded tokens after which the seconds spent are saved; NaN for nothing spent, for an unknown
    cost, and where the speedup's interval reaches down to 1.

    ``line`` is the arm's in the summary; ``baseline_rate`` in tokens per second.
    """
    known = METHODS.get(prepared_as(arm), Entry("", trained=True, tuned=True))
    spent = (line["training_seconds"] if known.trained else 0.0) + (
        line["tuning_seconds"] if known.tuned else 0.0
    )
    if not spent > 0 or not line["speedup_ci_low"] > 1:
        return math.nan
    return float(spent * baseline_rate / (1 - 1 / line["speedup"]))


def prepared_as(arm: str) -> str:
    """The method whose training and tuning an arm decodes with."""
    known = METHODS.get(arm)
    return (known and known.uses) or arm


def _read(file: Path) -> dict[str, Any]:
    return read_json(file) if file.is_file() else {}


def _line(folder: Path) -> dict[str, Any]:
    model, method = folder.parent.name, folder.name
    spent, config = _read(folder / "spent.json"), _read(folder / "config.json")
    made = "shipped" if config.get("shipped") else "trained"
    line = {
        "model": model,
        "method": method,
        "parts": made if "training_seconds" in config else None,
        "training_seconds": config.get("training_seconds"),
        "training_budget_seconds": spent.get("training_budget_seconds"),
        "tuning_seconds": spent.get("tuning_seconds"),
        "budget_seconds": spent.get("budget_seconds"),
    }
    if (folder / "trials.csv").is_file():
        trials = pd.read_csv(folder / "trials.csv", keep_default_na=False)
        line["candidates"] = len(trials)
        for role in ("default", "chosen"):
            line |= _trial(trials, role)
    return line


def _trial(trials: pd.DataFrame, role: str) -> dict[str, object]:
    """The trial of that role, its setting in words."""
    found = trials[trials["role"].str.contains(role)]
    if found.empty:
        return {}
    trial = found.iloc[0]
    keys = [key for key in trials if key not in _MEASURED and trial[key] != ""]
    setting = [f"{key.replace('_', ' ')} {trial[key]}" for key in keys]
    return {
        role: ", ".join(setting),
        f"{role}_speedup": float(trial["speedup"]),
        f"{role}_acceptance_length": float(trial["acceptance_length"]),
    }
