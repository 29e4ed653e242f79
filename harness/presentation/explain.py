"""Tables and sentences of a report on why a method is fast or slow and what it took to prepare."""

from collections.abc import Iterator, Mapping
from typing import TypeAlias

import pandas as pd

from harness.datasets import find_dataset
from harness.experiment.folder import Folder
from harness.presentation.findings import level
from harness.presentation.used import PASSES
from harness.presentation.wording import interval, joined, name_of, number, shown_names

BY_CATEGORY = ("firp", "medusa")
SEEDED = {"of", "seed"}  # keys of a variant that is its method trained once more
# Headers of a report's table, and for each the column of the data, its digits and its unit.
Columns: TypeAlias = Mapping[str, tuple[str, int, str]]
SPEED: Columns = {
    "accepted": ("acceptance_length", 2, ""),
    "step cost": ("step_cost", 2, ""),
    "speedup": ("speedup", 2, ""),
    "drafting": ("drafting", 0, " %"),
    "rows/step": ("rows_per_step", 1, ""),
    "draft size": ("draft_size", 1, ""),
}
PREPARED = (
    "method,trained parameters,training s,tuning s,budget s,candidates,default,tuned,"
    "break-even tokens"
).split(",")
DEFINITIONS = (
    "method,accepted,with prefill,mean of answers,mean with prefill,1 + accepted/drafts,"
    "ratio of sums,geometric mean,mean of rates"
).split(",")
COST: Columns = {
    "rows": ("rows", 1, ""),
    "mean rows": ("mean_rows", 1, ""),
    "accepted": ("acceptance_length", 2, ""),
    "predicted ms": ("predicted_step_ms", 2, ""),
    "measured ms": ("measured_step_ms", 2, ""),
    "predicted speedup": ("predicted_speedup", 2, ""),
    "measured speedup": ("speedup", 2, ""),
    "ceiling": ("ceiling_speedup", 2, ""),
}
SIZES: Columns = {
    "drafts": ("draft_size", 0, ""),
    "predicted": ("predicted_acceptance_length", 3, ""),
    "measured": ("acceptance_length", 3, ""),
    "rows/step": ("rows_per_step", 1, ""),
    "speedup": ("speedup", 2, ""),
}
REACH = ["method", "drafts", "accepted", "as much with", "drafts", "times fewer"]


def named(table: pd.DataFrame, column: str = "method") -> Iterator[tuple[str, pd.Series]]:
    """The lines of a table, each with the name of its method as readers see it."""
    lines = (line for _, line in table.iterrows())
    return zip(shown_names(table, column), lines, strict=True)


def _rows(table: pd.DataFrame, columns: Columns) -> list[list[str]]:
    """A header, and a line of figures for each arm of the table."""
    return [
        ["method", *columns],
        *(
            [name, *(number(line[of], digits, unit) for of, digits, unit in columns.values())]
            for name, line in named(table)
        ),
    ]


def speed_rows(arms: pd.DataFrame) -> list[list[str]]:
    """The speedup of each arm of a data set, explained as tokens a step over cost of a step."""
    return _rows(arms.assign(drafting=100 * arms["draft_share"]), SPEED)


def _of_set(folder: Folder, name: str, dataset: str) -> pd.DataFrame:
    """The lines of a data set in a table; empty where there is no such table."""
    table = folder.read_table(name)
    return table if table.empty else table[table["dataset"] == dataset]


def cost_rows(folder: Folder, dataset: str) -> list[list[str]]:
    """Step times and speedups of a data set, predicted and measured; empty without a cost model."""
    arms = _of_set(folder, "cost_model", dataset)
    return [] if arms.empty else _rows(arms, COST)


def uncut_lines(folder: Folder, dataset: str, same: bool) -> list[str]:
    """One sentence per model on the quality of whole answers, which are greedy; none if there are
    no such answers. ``same``: whether lossless methods give the target's greedy answers, token for
    token.
    """
    return [_uncut(line, same) for _, line in _of_set(folder, "uncut", dataset).iterrows()]


def _uncut(line: pd.Series, same: bool) -> str:
    score = find_dataset(line["dataset"]).score
    ends = (
        f"{line['prompts']} test prompts answered untimed, under a cap of their own: "
        f"{line['model']}'s greedy answers are {line['tokens']:.0f} tokens long on average, "
        f"{100 * line['ended_rate']:.0f} % end by themselves, {100 * line['loop_rate']:.0f} % loop"
    )
    if score is None or pd.isna(line["quality"]):
        return f"{ends}. Their quality is not measured."
    span = interval(line["quality_low"], line["quality_high"], 3)
    theirs = " A lossless method's answers, and so their quality, are the target's." if same else ""
    return f"{ends}; {score.shown} {line['quality']:.3f} (95 % interval {span}).{theirs}"


def lossy_lines(folder: Folder, dataset: str) -> list[str]:
    """One sentence per arm that is not lossless on how far its answers are from the target's."""
    return [_lossy(line) for _, line in _of_set(folder, "lossy", dataset).iterrows()]


def _lossy(line: pd.Series) -> str:
    span = interval(line["distance_low"], line["distance_high"], 3)
    return (
        f"{name_of(line['method'])} on {line['model']}: after the tokens before, what it says is "
        f"{line['distance']:.3f} away from what the target would say there, in total variation, "
        f"averaged over its tokens (95 % interval {span}); a lossless method is 0 away."
    )


def slower_lines(arms: pd.DataFrame, pairs: pd.DataFrame) -> list[str]:
    """For every arm of a data set that is certainly slower than autoregressive decoding, a sentence
    on why; ``pairs`` are those of the data set.
    """
    tied = {(model, arm) for model, of in pairs.groupby("model") for arm in level(of)}
    return [
        _slower(name, line)
        for name, line in named(arms)
        if line["speedup_ci_high"] < 1 and (line["model"], line["method"]) not in tied
    ]


def _slower(name: str, line: pd.Series) -> str:
    step = f"a step of {number(line['rows_per_step'], 1)} rows"
    cost = f"costs {number(line['step_cost'], 2)} times an autoregressive one there"
    slower = f"{name} is slower than autoregressive decoding in this engine"
    if not line["draft_size"] > 0:
        return f"{slower}: it commits one token a step, and {step} {cost}."
    drafting = ""
    if line["draft_share"] > 0:
        share = number(100 * line["draft_share"], 0, " %")
        drafting = f"; on the tune split, {share} of its decode time is spent in the drafter"
    return (
        f"{slower}: it commits {number(line['acceptance_length'], 2)} tokens a step, and {step} "
        f"{cost}{drafting}."
    )


def budget_lines(folder: Folder) -> list[str]:
    """Per model, the seconds that each method had for training and tuning, and those it took."""
    table = folder.read_csv(folder.table("preparation"))
    lines = []
    for model, methods in table.dropna(subset=["budget_seconds"]).groupby("model", sort=False):
        trained = methods["training_seconds"].where(methods["parts"] != "shipped", 0.0).fillna(0)
        taken = trained + methods["tuning_seconds"]
        by_method = [
            f"{name_of(method)} {number(seconds, 0)} s"
            for method, seconds in zip(methods["method"], taken, strict=True)
        ]
        limit = number(methods["budget_seconds"].iloc[0], 0)
        lines.append(
            f"Training and tuning on {model}, {limit} s for each method: {', '.join(by_method)}. "
            "Tuning ends earlier where every setting that was to be timed has been."
        )
        lines += _shipped_line(methods)
    return lines


def _shipped_line(methods: pd.DataFrame) -> list[str]:
    """A sentence on the methods whose parts were shipped, not trained in this run."""
    shipped = methods[methods["parts"] == "shipped"]
    if shipped.empty:
        return []
    by_method = [
        f"{name_of(method)} {number(seconds, 0)} s"
        for method, seconds in zip(shipped["method"], shipped["training_seconds"], strict=True)
    ]
    return [
        f"What these methods learn was not trained in this run but shipped with the target, after "
        f"a training of {joined(by_method)} on one machine: their settings alone were chosen here."
    ]


def spread_lines(arms: pd.DataFrame, variants: Mapping[str, Mapping[str, object]]) -> list[str]:
    """How far preparations of a method are apart that differ by the seed of training alone."""
    again = {name: str(config["of"]) for name, config in variants.items() if set(config) == SEEDED}
    prepared = arms.assign(of=arms["method"].replace(again)).dropna(subset=["speedup"])
    lines = []
    for (model, method), group in prepared.groupby(["model", "of"], sort=False):
        if len(group) > 1:
            ranges = [
                interval(group[column].min(), group[column].max())
                for column in ("speedup", "acceptance_length")
            ]
            lines.append(
                f"{model}: {len(group)} trainings of {name_of(method)} with different seeds are "
                f"{ranges[0]} times as fast as autoregressive decoding, with {ranges[1]} tokens a "
                "step. The intervals of one arm leave this spread out."
            )
    return lines


def prepared_rows(folder: Folder, arms: pd.DataFrame) -> list[list[str]]:
    """What training and tuning of a data set's arms took and gave; empty without any."""
    table = folder.read_csv(folder.table("preparation")).set_index(["model", "method"])
    rows = []
    for name, line in named(arms):
        key = (line["model"], line["method"])
        if key not in table.index:
            continue
        prepared = table.loc[key]
        rows.append(
            [
                name,
                number(line["trainable_parameters"], 0),
                _training_text(prepared),
                number(prepared["tuning_seconds"], 0),
                number(prepared["budget_seconds"], 0),
                number(prepared["candidates"], 0),
                number(prepared["default_speedup"], 2),
                number(prepared["chosen_speedup"], 2),
                number(line["break_even_tokens"], 0),
            ]
        )
    return [PREPARED, *rows] if rows else []


def _training_text(prepared: pd.Series) -> str:
    """Seconds of training, and whether they were spent in this run."""
    seconds = number(prepared["training_seconds"], 0)
    return f"{seconds}, shipped" if prepared["parts"] == "shipped" else seconds


def definition_rows(folder: Folder, dataset: str) -> list[list[str]]:
    """Acceptance length and speedup of a data set by every definition in use."""
    table = folder.read_csv(folder.table("definitions"))
    arms = table[table["dataset"] == dataset]
    return [
        DEFINITIONS,
        *(
            [name, *(number(value, 2) for value in line.drop(["model", "dataset", "method"]))]
            for name, line in named(arms)
        ),
    ]


def category_rows(folder: Folder, dataset: str) -> list[list[str]]:
    """Acceptance length and speedup of FIRP and Medusa by category; empty for a set without any."""
    table = folder.read_csv(folder.table("categories"))
    categories = table[(table["dataset"] == dataset) & table["method"].isin(BY_CATEGORY)]
    if categories.empty:
        return []
    several = categories["model"].nunique() > 1
    index = [*(["model"] if several else []), "category", "questions"]
    wide = categories.pivot(index=index, columns="method", values=["acceptance_length", "speedup"])
    shown = [(value, name) for name in BY_CATEGORY for value in ("acceptance_length", "speedup")]
    wide = wide.reindex(columns=[column for column in shown if column in wide.columns])
    words = {"acceptance_length": "accepted", "speedup": "speedup"}
    header = [*index, *(f"{name_of(name)}, {words[value]}" for value, name in wide.columns)]
    body = [
        [*map(str, place), *(number(value, 2) for value in line)]
        for place, line in zip(wide.index, wide.to_numpy(), strict=True)
    ]
    return [header, *body]


def reach_rows(folder: Folder) -> list[list[str]]:
    """For each draft size of a method, how many drafts FIRP needs to accept as much, and the other
    way round. Empty without such a table.
    """
    table = folder.read_table("draft_size_reach")
    if table.empty:
        return []
    table = table[(table[["method", "other"]] == "firp").any(axis=1)]
    largest = folder.read_table("draft_size_curve")["draft_size"].max()
    return [
        REACH,
        *(
            [
                name,
                number(line["other_draft_size"], 0),
                number(line["acceptance_length"], 2),
                name_of(line["method"]),
                f"more than {largest}"
                if pd.isna(line["draft_size"])
                else number(line["draft_size"], 0),
                number(line["times_smaller"], 1),
            ]
            for name, line in named(table, "other")
        ),
    ]


def size_rows(folder: Folder) -> list[list[str]]:
    """What was measured at the timed draft sizes; empty without a draft size curve."""
    table = folder.read_table("draft_size_curve")
    return [] if table.empty else _rows(table.dropna(subset=["speedup"]), SIZES)


def best_size_lines(folder: Folder) -> list[str]:
    """Per method, the draft size predicted to be fastest, and the fastest of the timed ones."""
    table = folder.read_table("best_draft_size")
    return [] if table.empty else [_best_size(name, line) for name, line in named(table)]


def _best_size(name: str, line: pd.Series) -> str:
    passes = "" if pd.isna(line["passes"]) else f" in {PASSES[line['passes']]}"
    timed = (
        ""
        if pd.isna(line["timed_speedup"])
        else (
            f"; of the sizes that were timed, {line['timed_draft_size']:.0f} was the fastest, with "
            f"{number(line['timed_speedup'], 2)}"
        )
    )
    return (
        f"By its costs, {name} should be fastest with {line['draft_size']} drafts a step{passes}: "
        f"{number(line['predicted_acceptance_length'], 2)} tokens a step and a speedup of "
        f"{number(line['predicted_speedup'], 2)} on the tune split{timed}."
    )
