"""The quality of whole answers: autoregressive decoding's, and so every lossless method's."""

from collections.abc import Sequence

import pandas as pd
from scipy import stats

from harness.analysis.quality import loops, scores
from harness.experiment.folder import Folder

COLUMNS = (
    "model dataset questions tokens ended_rate loop_rate quality quality_low quality_high"
).split()


def uncut(folder: Folder, models: Sequence[str]) -> pd.DataFrame:
    """One line a model and data set; empty without any.

    ``tokens``: mean length; ``ended_rate``: share of answers that end by themselves; ``quality``:
    the set's mean score with a 95 % interval, empty where a set has none.
    """
    files = {model: folder.uncut(model) for model in models}
    lines = [
        {"model": model, "dataset": name, **_line(str(name), mine.set_index("prompt_id"))}
        for model, file in files.items()
        if file.is_file()
        for name, mine in pd.DataFrame(folder.read_jsonl(file)).groupby("dataset", sort=False)
    ]
    return pd.DataFrame(lines, columns=COLUMNS)


def _line(dataset: str, mine: pd.DataFrame) -> dict[str, float]:
    found = scores(dataset, mine["text"], mine["reference"].to_dict())
    quality, low, high = _mean(found)
    return {
        "questions": len(mine),
        "tokens": float(mine["output_ids"].map(len).mean()),
        "ended_rate": float(mine["ended"].mean()),
        "loop_rate": float(mine["output_ids"].map(loops).mean()),
        "quality": quality,
        "quality_low": low,
        "quality_high": high,
    }


def _mean(found: pd.Series) -> tuple[float, float, float]:
    """Mean and 95 % interval: Wilson's where every score is 0 or 1, else Student's."""
    if len(found) < 2:
        return float("nan"), float("nan"), float("nan")
    mean = float(found.mean())
    if found.isin((0.0, 1.0)).all():
        bounds = stats.binomtest(int(found.sum()), len(found)).proportion_ci(method="wilson")
        return mean, float(bounds.low), float(bounds.high)
    half = float(found.sem()) * float(stats.t.ppf(0.975, len(found) - 1))
    return mean, mean - half, mean + half
