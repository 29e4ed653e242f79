"""The draft size that should decode fastest, predicted from the costs of forwards and drafting."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from harness.analysis.cost_model import ModelCost, decode_steps, entry_layers
from harness.analysis.preparation import Prepared
from harness.analysis.summary import Run
from harness.experiment.folder import SETTING
from harness.experiment.records import BASELINE
from harness.measure.step_cost import TWO_PASS, StepCost

COLUMNS = (
    "model method draft_size passes predicted_acceptance_length predicted_step_ms "
    "predicted_speedup timed_draft_size timed_speedup"
).split()


def best_sizes(known: Mapping[str, ModelCost], run: Run, curve: pd.DataFrame) -> pd.DataFrame:
    """One line per model and method of the curve: the draft size with the best predicted speedup.

    A speedup is predicted from the curve's acceptance length and the cost of a step at the mean
    context of the autoregressive steps, for each size in the faster of the ways (one pass or two)
    that tuning tried. Methods whose trials were not foretold have no line: what drafting costs them
    depends on the size.
    ``timed_draft_size`` is the fastest of the sizes that were timed, ``timed_speedup`` its measured
    speedup.
    """
    lines = []
    rows, prepared = run.rows, run.prepared
    for model, model_curve in curve.groupby("model", sort=False):
        cost = known.get(model)
        if cost is None or BASELINE not in cost.outside:
            continue
        plain = rows[(rows["model"] == model) & (rows["arm"] == BASELINE)]
        context = float(decode_steps(plain, run.prompts).context.mean())
        baseline = StepCost(cost.forward, context, cost.outside[BASELINE], [])
        no_drafts = np.zeros(1, dtype=int)
        baseline_ms = baseline.step_ms("", no_drafts, no_drafts)[0]
        profiled = model_curve[model_curve["method"].isin(cost.outside)]
        for name, sizes in profiled.groupby("method", sort=False):
            tried = prepared.trials(model, name)
            if (tried["predicted_speedup"] == "").all():
                continue
            method = _method(prepared, (model, name), cost, context)
            ways = tuple(tried.get("passes", pd.Series([""])).unique())
            best = _best(sizes.reset_index(drop=True), method, ways, baseline_ms)
            lines.append({"model": model, "method": name, **best})
    return pd.DataFrame(lines, columns=COLUMNS)


def _method(
    prepared: Prepared, place: tuple[str, str], cost: ModelCost, context: float
) -> StepCost:
    """The step costs of the arm ``place`` (model, arm).

    The profile counts the second pass of a two-pass arm as drafting; here it is subtracted, since
    ``StepCost`` adds the second pass itself.
    """
    model, arm = place
    entries = entry_layers(prepared, model, arm)
    method = StepCost(cost.forward, context, cost.outside[arm], entries)
    setting = prepared.read(model, arm, SETTING)
    if setting.get("passes") != TWO_PASS:
        return method
    deep = np.array([min(setting["depth"], len(entries))])
    return replace(method, drafting=method.drafting - method.second_ms(deep)[0])


def _best(
    curve: pd.DataFrame, method: StepCost, ways: tuple[str, ...], baseline_ms: float
) -> dict[str, object]:
    """The columns of one method's line; ``curve`` holds its sizes."""
    sizes, depths = curve["draft_size"].to_numpy(), curve["depth"].to_numpy()
    by_way = pd.DataFrame({way: method.step_ms(way, sizes, depths) for way in ways})
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
