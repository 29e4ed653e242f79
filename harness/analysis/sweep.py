"""The table of a sweep over a method's settings: one line per variant, fastest first."""

from pathlib import Path

import pandas as pd

from harness.errors import HarnessError
from harness.experiment.folder import write_table
from harness.files import read_json


def write_sweep(
    place: tuple[str, str], variants: list[dict[str, object]], settings: list[Path], out: Path
) -> None:
    """Write each variant's training result and best trial; ``settings``: their files, in order.

    ``place``: model and method, the first columns.
    """
    if len(variants) != len(settings):
        raise HarnessError(f"sweep: {len(settings)} results, expected {len(variants)}")
    lines = [_line(variant, file) for variant, file in zip(variants, settings, strict=True)]
    table = pd.DataFrame(lines).sort_values("speedup", ascending=False)
    table.insert(0, "model", place[0])
    table.insert(1, "method", place[1])
    write_table(out, table, digits=5)


def _line(variant: dict[str, object], setting: Path) -> dict[str, object]:
    """A variant, the result of its training, and the fastest trial among those timed longest.

    ``step_cost``: cost of a decode step in autoregressive steps, as predicted from forwards' costs.
    """
    trained = read_json(setting.with_name("config.json"))
    trials = pd.read_csv(setting.with_name("trials.csv"))
    final = trials[trials["requests"] == trials["requests"].max()]
    best = final.sort_values("speedup", ascending=False).iloc[0]
    tops = {f"top1_step{i}": value for i, value in enumerate(trained["top1"], start=1)}
    columns = (
        *("policy", "passes", "drafts", "acceptance_length", "speedup"),
        *("predicted_acceptance_length", "predicted_speedup"),
    )
    return {
        **{key: _plain(value) for key, value in variant.items()},
        **{key: best[key] for key in columns if key in best},
        "step_cost": best["predicted_acceptance_length"] / best["predicted_speedup"],
        "tune_loss": trained["tune_loss"],
        "training_seconds": trained["training_seconds"],
        **tops,
    }


def _plain(value: object) -> str:
    """A value as the text of a cell; a list of strings is joined by spaces, null is empty."""
    if value is None:
        return ""
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return " ".join(value)
    return str(value)
