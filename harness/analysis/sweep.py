"""What a sweep over a method's settings gave: one line per variant, best first."""

from pathlib import Path

import pandas as pd

from harness.errors import HarnessError
from harness.files import read_json, replacing


def write_sweep(variants: list[dict[str, object]], settings: list[Path], out: Path) -> None:
    """Collect each variant's training result and its best trial; ``settings`` in variant order."""
    if len(variants) != len(settings):
        raise HarnessError(f"sweep: {len(settings)} results, expected {len(variants)}")
    lines = [_line(variant, file) for variant, file in zip(variants, settings, strict=True)]
    table = pd.DataFrame(lines).sort_values("speedup", ascending=False)
    with replacing(out) as temporary:
        table.to_csv(temporary, index=False, float_format="%.5g")


def _line(variant: dict[str, object], setting: Path) -> dict[str, object]:
    """A variant, what its training reached, and the trial that was timed longest and fastest."""
    trained = read_json(setting.with_name("config.json"))
    trials = pd.read_csv(setting.with_name("trials.csv"))
    final = trials[trials["requests"] == trials["requests"].max()]
    best = final.sort_values("speedup", ascending=False).iloc[0]
    tops = {f"top1_step{i}": value for i, value in enumerate(trained["top1"], start=1)}
    kept = ("policy", "passes", "drafts", "acceptance_length", "speedup")
    return {
        **{key: str(value) for key, value in variant.items()},
        **{key: best[key] for key in kept if key in best},
        "tune_loss": trained["tune_loss"],
        "training_seconds": trained["training_seconds"],
        **tops,
    }
