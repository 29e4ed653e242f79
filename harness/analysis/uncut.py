"""The quality of the target's whole greedy answers, which are lossless methods' too."""

from collections.abc import Sequence

import pandas as pd
from scipy import stats

from harness.analysis.quality import loops, scores
from harness.experiment.folder import Folder

COLUMNS = (
    "model dataset prompts tokens ended_rate loop_rate quality quality_low quality_high"
).split()


def uncut(folder: Folder, models: Sequence[str]) -> pd.DataFrame:
    """One line per model and data set; empty without any.

    ``tokens``: mean length; ``ended_rate``: share of answers that end by a stop token, not at the
    cap; ``quality``: mean score with a 95 % interval, empty for a set without scores.
    """
    files = {model: folder.uncut(model) for model in models}
    lines = [
        {"model": model, "dataset": name, **_line(str(name), answers.set_index("prompt_id"))}
        for model, file in files.items()
        if file.is_file()
        for name, answers in pd.DataFrame(folder.read_jsonl(file)).groupby("dataset", sort=False)
    ]
    return pd.DataFrame(lines, columns=COLUMNS)


def _line(dataset: str, answers: pd.DataFrame) -> dict[str, float]:
    values = scores(dataset, answers["text"], answers["reference"].to_dict())
    quality, low, high = _mean(values)
    return {
        "prompts": len(answers),
        "tokens": float(answers["output_ids"].map(len).mean()),
        "ended_rate": float(answers["ended"].mean()),
        "loop_rate": float(answers["output_ids"].map(loops).mean()),
        "quality": quality,
        "quality_low": low,
        "quality_high": high,
    }


def _mean(values: pd.Series) -> tuple[float, float, float]:
    """Mean and 95 % interval: Wilson's where every score is 0 or 1, else Student's."""
    if len(values) < 2:
        return float("nan"), float("nan"), float("nan")
    mean = float(values.mean())
    if values.isin((0.0, 1.0)).all():
        bounds = stats.binomtest(int(values.sum()), len(values)).proportion_ci(method="wilson")
        return mean, float(bounds.low), float(bounds.high)
    half = float(values.sem()) * float(stats.t.ppf(0.975, len(values) - 1))
    return mean, mean - half, mean + half
