"""The number of drafts a step that should decode fastest, by what forwards and drafting cost."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from harness.analysis.cost import Asked, ModelCost, decode_steps, entry_layers
from harness.analysis.preparation import Prepared
from harness.experiment.folder import SETTING
from harness.experiment.records import BASELINE
from harness.measure.step_cost import TWO_PASS, StepCost

COLUMNS = (
    "model method draft_size passes predicted_acceptance_length predicted_step_ms "
    "predicted_speedup timed_draft_size timed_speedup"
).split()


def best_sizes(
    known: Mapping[str, ModelCost], prepared: Prepared, asked: Asked, curve: pd.DataFrame
) -> pd.DataFrame:
    """One line per model and method of the draft size curve: the size with the best prediction.

    By the acceptance lengths that the curve predicts, at the mean context of the autoregressive
    steps; for each size in its faster way. ``timed_draft_size`` is the fastest of those that were
    timed, ``timed_speedup`` what was measured there.
    """
    lines = []
    rows = asked.rows
    for model in curve["model"].unique() if len(curve) else []:
        if model not in known:
            continue
        cost = known[model]
        plain = rows[(rows["model"] == model) & (rows["arm"] == BASELINE)]
        context = float(decode_steps(plain, asked.prompts).context.mean())
        mine = curve[(curve["model"] == model) & curve["method"].isin(cost.outside)]
        if BASELINE not in cost.outside:
            continue
        baseline = StepCost(cost.forward, context, cost.outside[BASELINE], [])
        none = np.zeros(1, dtype=int)
        baseline_ms = baseline.step_ms("", none, none)[0]
        for name, sizes in mine.groupby("method", sort=False):
            method = _method(prepared, (model, name), cost, context)
            found = _best(sizes.reset_index(drop=True), method, baseline_ms)
            lines.append({"model": model, "method": name, **found})
    return pd.DataFrame(lines, columns=COLUMNS)


def _method(
    prepared: Prepared, place: tuple[str, str], cost: ModelCost, context: float
) -> StepCost:
    """The arm of a (model, arm); a second pass that the profile saw as drafting is taken off."""
    model, arm = place
    entries = entry_layers(prepared, model, arm)
    method = StepCost(cost.forward, context, cost.outside[arm], entries)
    setting = prepared.read(model, arm, SETTING)
    if setting.get("passes") != TWO_PASS:
        return method
    deep = np.array([min(setting["depth"], len(entries))])
    return replace(method, drafting=method.drafting - method.second_ms(deep)[0])


def _best(curve: pd.DataFrame, method: StepCost, baseline_ms: float) -> dict[str, object]:
    """The line of one method; ``curve`` holds its sizes."""
    sizes = curve["draft_size"].to_numpy()
    # curves of older runs do not tell: then as deep as they can be
    known = curve["depth"] if "depth" in curve else pd.Series(np.nan, curve.index)
    depths = known.fillna(curve["draft_size"]).to_numpy()
    by_way = pd.DataFrame({way: method.step_ms(way, sizes, depths) for way in method.ways()})
    step = by_way.min(axis=1)
    speedup = curve["predicted_acceptance_length"] * baseline_ms / step
    best, timed = speedup.idxmax(), curve["speedup"].dropna()
    fastest = timed.idxmax() if len(timed) else None
    return {
        "draft_size": curve["draft_size"][best],
        "passes": by_way.loc[best].idxmin(),
        "predicted_acceptance_length": curve["predicted_acceptance_length"][best],
        "predicted_step_ms": step[best],
        "predicted_speedup": speedup[best],
        "timed_draft_size": None if fastest is None else curve["draft_size"][fastest],
        "timed_speedup": None if fastest is None else timed[fastest],
    }
