"""The cost model: do the costs of forwards explain the measured speedups?

The time of a step is predicted as the target's forward for the step's rows, timed once for all
methods, plus the milliseconds that the profile measured outside that forward. How fast an arm was
in the sessions is not used.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from harness.analysis.facts import Prompts
from harness.analysis.phases import phases
from harness.analysis.preparation import Prepared
from harness.analysis.summary import Run
from harness.experiment.folder import CONFIG, Folder
from harness.experiment.records import BASELINE
from harness.measure.step_cost import ForwardCost, Steps, forward_cost, rows_by_layer

OUTSIDE = ("draft", "tree", "choose", "commit", "between")
COLUMNS = (
    "model dataset method rows mean_rows acceptance_length predicted_step_ms measured_step_ms "
    "predicted_speedup speedup predicted_over_measured ceiling_speedup"
).split()


@dataclass(frozen=True, slots=True)
class ModelCost:
    """Costs of a target's forwards, and the milliseconds per step that arms spend outside them.

    ``outside``: by arm, over all data sets; ``outside_in``: by (data set, arm).
    """

    forward: ForwardCost
    outside: dict[str, float]
    outside_in: dict[tuple[str, str], float]

    def outside_of(self, dataset: str, arm: str) -> float:
        """Milliseconds outside on that data set; over all of them if it was not profiled."""
        return self.outside_in.get((dataset, arm), self.outside[arm])


def costs(folder: Folder, models: Sequence[str]) -> dict[str, ModelCost]:
    """Timed forwards and profiled arms by model; models without timed forwards are left out."""
    timed = folder.of_models(folder.cost, models)
    spent = _outside(folder, models, ["model", "method"])
    spent_in = _outside(folder, models, ["model", "dataset", "method"])
    return {
        model: ModelCost(
            forward_cost(table.reset_index(drop=True)),
            {arm: ms for (of, arm), ms in spent.items() if of == model},
            {(dataset, arm): ms for (of, dataset, arm), ms in spent_in.items() if of == model},
        )
        for model, table in timed.groupby("model", sort=False)
    }


def _outside(
    folder: Folder, models: Sequence[str], keys: list[str]
) -> dict[tuple[str, ...], float]:
    """Milliseconds of a step outside its forward by ``keys``, for the arms of the engine alone."""
    split = phases(folder, models, keys).dropna(subset=["forward_ms"]).set_index(keys)
    return split[[f"{phase}_ms" for phase in OUTSIDE]].sum(axis=1).to_dict()


def forwards(known: dict[str, ModelCost]) -> pd.DataFrame:
    """The timed forwards of all models, one per line."""
    lines = [
        (model, rows, context, cost.forward.grid[place, column])
        for model, cost in known.items()
        for place, rows in enumerate(cost.forward.rows)
        for column, context in enumerate(cost.forward.contexts)
    ]
    return pd.DataFrame(lines, columns=["model", "rows", "context", "forward_ms"])


def copy_shares(folder: Folder, models: Sequence[str]) -> dict[str, float]:
    """By model, how fast a forward of one row reads the weights and the K/V cache, as a share of
    the device's copy bandwidth, at the context nearest to half of the longest. Models for which no
    copy was timed are left out.
    """
    timed = folder.of_models(folder.cost, models)
    if "copy_rate" not in timed:
        return {}
    shares = {}
    alone = timed[(timed["rows"] == 1) & timed["copy_rate"].notna()]
    for model, lines in alone.groupby("model", sort=False):
        lines = lines.sort_values("context")
        line = lines.loc[(lines["context"] - lines["context"].max() / 2).abs().idxmin()]
        read = line["weight_bytes"] + line["context"] * line["token_bytes"]
        shares[model] = float(read / line["seconds"] / line["copy_rate"])
    return shares


def decode_steps(rows: pd.DataFrame, prompts: Prompts) -> Steps:
    """Decode steps of ``rows``, without prefills; a step's context is what precedes its root."""
    keys = zip(rows["model"], rows["prompt_id"], strict=True)
    starts = [len(prompts[key]["input_ids"]) - 1 for key in keys]
    contexts = [
        at + np.cumsum(counts)[:-1] for at, counts in zip(starts, rows["step_tokens"], strict=True)
    ]
    nodes, width = (
        np.concatenate([sizes[1:] for sizes in rows[name]]).astype(int)
        for name in ("step_draft_size", "step_rows")
    )
    return Steps(1 + nodes, width, np.concatenate(contexts))


def entry_layers(prepared: Prepared, model: str, arm: str) -> list[int]:
    """Layers at which an arm's pseudo rows enter, as its method's config says; empty without."""
    layout: dict[str, list[int]] = prepared.read(model, arm, CONFIG).get("layout", {})
    return layout.get("entry_layers", [])


def cost_model(known: Mapping[str, ModelCost], run: Run, summary: pd.DataFrame) -> pd.DataFrame:
    """One line per model, data set and arm of the engine that has a speedup in ``summary``.

    ``predicted_speedup``: acceptance length times the predicted autoregressive step, over the
    arm's predicted step. ``ceiling_speedup``: the speedup at the same step costs if every step
    committed its whole longest path and one token more. Rows do not record the shape of a tree: its
    depth is taken to be the longest path that the arm ever accepted on the model, and at most the
    step's draft size. So the ceiling is too low for an arm whose deepest drafts are never accepted.

    ``rows``: mean rows of a step in the last layer; ``mean_rows``: the mean over layers too, since
    FIRP's pseudo rows enter in the middle.
    """
    rows, prepared = run.rows, run.prepared
    deepest = rows["step_path"].map(lambda paths: max(map(len, paths)))
    deepest = deepest.groupby([rows["model"], rows["arm"]]).max()
    measured = rows.groupby(["model", "dataset", "arm"])
    lines = []
    for _, line in summary.dropna(subset=["speedup"]).iterrows():
        place = tuple(line[["model", "dataset", "method"]])
        model, dataset, arm = place
        if arm not in (known[model].outside if model in known else {}):
            continue
        arm_rows = measured.get_group(place)
        steps = decode_steps(arm_rows, run.prompts)
        cost, entries = known[model].forward, entry_layers(prepared, model, arm)
        # a mean over steps: the forward is not linear in its rows
        forward = float(cost.of_steps(steps, entries).mean())
        predicted = forward + known[model].outside_of(dataset, arm)
        ceiling_length = 1 + np.minimum(steps.nodes - 1, deepest[model, arm]).mean()
        lines.append(
            {
                **line[["model", "dataset", "method", "acceptance_length", "speedup"]],
                "rows": steps.rows.mean(),
                "mean_rows": np.mean(rows_by_layer(steps, entries, cost.layers)),
                "predicted_step_ms": predicted,
                "measured_step_ms": 1000 * arm_rows["decode_seconds"].sum() / len(steps.rows),
                "predicted_speedup": line["acceptance_length"] / predicted,
                "ceiling_speedup": ceiling_length / predicted,
            }
        )
    return _over_baseline(pd.DataFrame(lines, columns=COLUMNS))


def _over_baseline(table: pd.DataFrame) -> pd.DataFrame:
    """Turn tokens per predicted millisecond into speedups: the baseline has one token per step."""
    baseline = table[table["method"] == BASELINE].set_index(["model", "dataset"])
    step = baseline["predicted_step_ms"].rename("baseline_ms").reset_index()
    table = table.merge(step, on=["model", "dataset"])
    for column in ("predicted_speedup", "ceiling_speedup"):
        table[column] *= table["baseline_ms"]
    table["predicted_over_measured"] = table["predicted_speedup"] / table["speedup"]
    return table[COLUMNS]
