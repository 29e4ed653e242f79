"""What each method took before it could decode, and what that gave: training, search, settings."""

import math
from pathlib import Path
from typing import Any

import pandas as pd

from harness.files import read_json
from methods import METHODS

COLUMNS = (
    "model method training_seconds tuning_seconds budget_seconds candidates default "
    "default_speedup default_acceptance_length chosen chosen_speedup chosen_acceptance_length"
).split()
_MEASURED = ("role", "requests", "speedup", "acceptance_length", "predicted_acceptance_length")


def preparation(root: Path) -> pd.DataFrame:
    """One line per model and method that was trained or tuned; trials are of the tune split.

    ``default`` is the setting that the method's authors use, where there is one.
    """
    folders = {file.parent for name in ("spent.json", "config.json") for file in _of(root, name)}
    lines = [_line(folder) for folder in sorted(folders)]
    return pd.DataFrame(lines, columns=COLUMNS)


def arm_costs(root: Path, model: str, arm: str) -> dict[str, float]:
    """Training and search behind an arm, and drafting's share of its decode time.

    An arm that decodes with another method's parts has that method's seconds.
    """
    known = METHODS.get(arm)
    folder = root / "methods" / model / ((known and known.uses) or arm)
    config, spent = _read(folder / "config.json"), _read(folder / "spent.json")
    return {
        "trainable_parameters": config.get("trainable_parameters", math.nan),
        "training_seconds": config.get("training_seconds", math.nan),
        "tuning_seconds": spent.get("tuning_seconds", math.nan),
        "draft_share": _draft_share(root / "profile" / f"{model}.csv", arm),
    }


def break_even(costs: dict[str, float], rate: float, baseline_rate: float) -> float:
    """Tokens after which the seconds spent are saved; NaN for nothing spent or nothing saved.

    Rates in tokens per second.
    """
    spent = [costs[key] for key in ("training_seconds", "tuning_seconds")]
    total = sum(seconds for seconds in spent if not math.isnan(seconds))
    saved = 1 / baseline_rate - 1 / rate
    return total / saved if total and saved > 0 else math.nan


def _draft_share(file: Path, arm: str) -> float:
    """NaN where it was not measured, or cannot be."""
    if not file.is_file():
        return math.nan
    profile = pd.read_csv(file, index_col="method")
    if arm not in profile.index:
        return math.nan
    return float(profile.loc[arm, "draft_seconds"] / profile.loc[arm, "decode_seconds"])


def _read(file: Path) -> dict[str, Any]:
    return read_json(file) if file.is_file() else {}


def _of(root: Path, name: str) -> list[Path]:
    return list(root.glob(f"methods/*/*/{name}"))


def _line(folder: Path) -> dict[str, Any]:
    model, method = folder.parent.name, folder.name
    spent = _read(folder / "spent.json")
    line = {
        "model": model,
        "method": method,
        "training_seconds": _read(folder / "config.json").get("training_seconds"),
        "tuning_seconds": spent.get("tuning_seconds"),
        "budget_seconds": spent.get("budget_seconds"),
    }
    if (folder / "trials.csv").is_file():
        trials = pd.read_csv(folder / "trials.csv", keep_default_na=False)
        line["candidates"] = len(trials)
        for role in ("default", "chosen") if "role" in trials else ():
            line |= _trial(trials, role)
    return line


def _trial(trials: pd.DataFrame, role: str) -> dict[str, object]:
    """The trial of that role, its setting in words."""
    found = trials[trials["role"].str.contains(role)]
    if found.empty:
        return {}
    trial = found.iloc[0]
    setting = [f"{key.replace('_', ' ')} {trial[key]}" for key in trials if key not in _MEASURED]
    return {
        role: ", ".join(setting),
        f"{role}_speedup": trial["speedup"],
        f"{role}_acceptance_length": trial["acceptance_length"],
    }
