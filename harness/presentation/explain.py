"""The parts of a report that say why a method is as fast as it is, and what that took."""

from pathlib import Path

import pandas as pd

from harness.presentation.wording import name_of, number

SPEED = ["method", "accepted", "step cost", "speedup", "drafting", "rows/step", "draft size"]
PREPARED = (
    "method,trained parameters,training s,search s,budget s,tried,authors' setting,tuned,"
    "break-even tokens"
).split(",")
REACH = ["method", "drafts", "accepted", "as much with", "drafts", "times fewer"]


def speed_rows(mine: pd.DataFrame) -> list[list[str]]:
    """Speedup of each arm of a data set as tokens a step over the cost of a step."""
    return [
        SPEED,
        *(
            [
                name_of(line["method"]),
                number(line["acceptance_length"], 2),
                number(line["step_cost"], 2),
                number(line["acceptance_length"] / line["step_cost"], 2),
                number(100 * line["draft_share"], 0, " %"),
                number(line["rows_per_step"], 1),
                number(line["draft_size"], 1),
            ]
            for _, line in mine.iterrows()
        ),
    ]


def slower_lines(mine: pd.DataFrame) -> list[str]:
    """One sentence for every arm that is slower than autoregressive decoding, with its reason."""
    lines = []
    for _, line in mine[mine["speedup"] < 1].iterrows():
        if line["method"] == "autoregressive_again":
            continue
        drafting = number(100 * line["draft_share"], 0, " % of its time goes into drafting")
        lines.append(
            f"{name_of(line['method'])} is slower than autoregressive decoding: it commits "
            f"{number(line['acceptance_length'], 2)} tokens a step, and a step of "
            f"{number(line['rows_per_step'], 1)} rows costs {number(line['step_cost'], 2)} times "
            "an autoregressive one" + (f" ({drafting})" if line["draft_share"] > 0 else "") + "."
        )
    return lines


def budget_lines(root: Path) -> list[str]:
    """What methods could take for training and search together, and what they took; per model."""
    table = pd.read_csv(root / "tables" / "preparation.csv")
    lines = []
    for model, mine in table.dropna(subset=["budget_seconds"]).groupby("model", sort=False):
        taken = mine["training_seconds"].fillna(0) + mine["tuning_seconds"]
        told = [
            f"{name_of(method)} {number(seconds, 0)} s"
            for method, seconds in zip(mine["method"], taken, strict=True)
        ]
        limit = number(mine["budget_seconds"].iloc[0], 0)
        lines.append(
            f"Training and search on {model}, at most {limit} s for each method: {', '.join(told)}."
        )
    return lines


def prepared_rows(root: Path, mine: pd.DataFrame) -> list[list[str]]:
    """Training and search behind the arms of a data set; empty without any."""
    table = pd.read_csv(root / "tables" / "preparation.csv").set_index(["model", "method"])
    rows = []
    for _, line in mine.iterrows():
        key = (line["model"], line["method"])
        if key not in table.index:
            continue
        prepared = table.loc[key]
        rows.append(
            [
                name_of(line["method"]),
                number(line["trainable_parameters"], 0),
                number(prepared["training_seconds"], 0),
                number(prepared["tuning_seconds"], 0),
                number(prepared["budget_seconds"], 0),
                number(prepared["candidates"], 0),
                number(prepared["default_speedup"], 2),
                number(prepared["chosen_speedup"], 2),
                number(line["break_even_tokens"], 0),
            ]
        )
    return [PREPARED, *rows] if rows else []


def reach_rows(root: Path) -> list[list[str]]:
    """Which number of drafts of one method accepts as much as each of another; empty without."""
    file = root / "tables" / "draft_size_reach.csv"
    if not file.is_file():
        return []
    table = pd.read_csv(file)
    several = table["model"].nunique() > 1
    return [
        REACH,
        *(
            [
                name_of(line["other"]) + (f" ({line['model']})" if several else ""),
                number(line["other_draft_size"], 0),
                number(line["acceptance_length"], 2),
                name_of(line["method"]),
                "not with any" if pd.isna(line["draft_size"]) else number(line["draft_size"], 0),
                number(line["times_smaller"], 1),
            ]
            for _, line in table.iterrows()
        ),
    ]
