"""The number of drafts a step that should decode fastest, by what forwards and drafting cost."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from harness.analysis.cost import (
    ForwardCost,
    ModelCost,
    Prompts,
    Steps,
    costs,
    decode_steps,
    entry_layers,
)
from harness.analysis.rows import BASELINE
from harness.files import read_json

COLUMNS = (
    "model method draft_size passes predicted_acceptance_length predicted_step_ms "
    "predicted_speedup timed_draft_size timed_speedup"
).split()
TWO_PASS = "two_pass"


@dataclass(frozen=True, slots=True)
class StepCost:
    """What steps cost a method with trees of any size, behind ``context`` tokens.

    ``drafting``: milliseconds of a step outside its forwards; the same for every size, for lack of
    better. ``entries``: layers at which a node's pseudo rows enter, empty for a method without.
    """

    forward: ForwardCost
    context: float
    drafting: float
    entries: list[int]

    def ways(self) -> tuple[str, ...]:
        """How a tree can be run: pseudo rows ride along, or have a forward of their own."""
        return ("combined", TWO_PASS) if self.entries else ("",)

    def step_ms(self, way: str, sizes: np.ndarray, depths: np.ndarray) -> np.ndarray:
        """[N] milliseconds of a step for each number of drafts.

        ``depths`` [N]: levels of the trees of ``sizes`` drafts. A tree runs as many of the K pseudo
        rows: at every node, or once in a forward of their own.
        """
        deep = np.minimum(depths, len(self.entries))
        nodes, context = 1 + sizes, np.full(len(sizes), self.context)
        if way == TWO_PASS:
            return self.forward(nodes, context) + self.second_ms(deep) + self.drafting
        steps = Steps(nodes, nodes * (1 + deep), context)
        return self.forward.of_steps(steps, self.entries) + self.drafting

    def second_ms(self, deep: np.ndarray) -> np.ndarray:
        """[N] milliseconds of a forward of ``deep`` [N] pseudo rows alone, each from its entry."""
        entered = [
            np.minimum(deep, sum(entry <= layer for entry in self.entries))
            for layer in range(self.forward.layers)
        ]
        return self.forward.by_layer(entered, np.full(len(deep), self.context))


def best_sizes(
    root: Path, curve: pd.DataFrame, rows: pd.DataFrame, prompts: Prompts
) -> pd.DataFrame:
    """One line per model and method of the draft size curve: the size with the best prediction.

    By the acceptance lengths that the curve predicts, at the mean context of the autoregressive
    steps; for each size in its faster way. ``timed_draft_size`` is the fastest of those that were
    timed, ``timed_speedup`` what was measured there.
    """
    lines = []
    known = costs(root, list(curve["model"].unique())) if len(curve) else {}
    for model, cost in known.items():
        plain = rows[(rows["model"] == model) & (rows["arm"] == BASELINE)]
        context = float(decode_steps(plain, prompts).context.mean())
        mine = curve[(curve["model"] == model) & curve["method"].isin(cost.outside)]
        if BASELINE not in cost.outside:
            continue
        baseline = StepCost(cost.forward, context, cost.outside[BASELINE], [])
        none = np.zeros(1, dtype=int)
        baseline_ms = baseline.step_ms("", none, none)[0]
        for name, sizes in mine.groupby("method", sort=False):
            method = _method(root / "methods" / model / name, cost, context)
            found = _best(sizes.reset_index(drop=True), method, baseline_ms)
            lines.append({"model": model, "method": name, **found})
    return pd.DataFrame(lines, columns=COLUMNS)


def _method(folder: Path, cost: ModelCost, context: float) -> StepCost:
    """The method of that folder; a second pass that the profile saw as drafting is taken off."""
    entries = entry_layers(folder.parents[2], folder.parent.name, folder.name)
    method = StepCost(cost.forward, context, cost.outside[folder.name], entries)
    file = folder / "setting.json"
    setting = read_json(file) if file.is_file() else {}
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
