"""The main table of a data set, and the table of guards against unfair speedups, as text."""

import pandas as pd

from harness.analysis.preparation import Prepared
from harness.datasets import find_dataset
from harness.experiment.facts import Facts
from harness.experiment.folder import Folder
from harness.presentation.explain import named
from harness.presentation.used import used
from harness.presentation.wording import number, percent, rank_text

HEADER = ("method,tokens/s,speedup,95 % interval,end to end,accepted,draft size,rank").split(",")
GUARDS = ("method,tokens,extra MiB,Rouge-2 vs AR,length vs AR,as good as AR,looping").split(",")
# Text, or a method's name and, to be shown below it, the setting that it decoded with.
Cell = str | list[str]


def main_rows(folder: Folder, facts: Facts, dataset: str, arms: pd.DataFrame) -> list[list[Cell]]:
    """The main table, header first; ``arms`` are a data set's lines of the summary."""
    prepared, variants = Prepared(folder, facts["uses"]), facts["experiment"].get("variants", {})
    of = {arm: str(variant["of"]) for arm, variant in variants.items()}
    body: list[list[Cell]] = []
    for name, line in named(arms):
        arm = line["method"]
        setting = used(prepared, line["model"], arm, of.get(arm, arm))
        body.append([[name, setting], *figures(dataset, line)])
    score = find_dataset(dataset).score
    header: list[Cell] = [*HEADER, *([score.shown] if score else []), "as AR"]
    return [header, *body]


def guard_rows(arms: pd.DataFrame) -> list[list[str]]:
    """What might make a speedup unfair: memory, other texts, other lengths, loops."""
    return [GUARDS, *([name, *_guards(line)] for name, line in named(arms))]


def figures(dataset: str, line: pd.Series) -> list[str]:
    """The figures of one arm, in the order of the header."""
    low, high = line["speedup_ci_low"], line["speedup_ci_high"]
    score = find_dataset(dataset).score
    return [
        number(line["tokens_per_second"], 1),
        number(line["speedup"], 2),
        "–" if pd.isna(low) else f"[{low:.2f}, {high:.2f}]",
        number(line["end_to_end_speedup"], 2),
        number(line["acceptance_length"], 2),
        number(line["draft_size"], 1),
        rank_text(line["rank_best"], line["rank_worst"]),
        *([number(line[score.column], 3)] if score else []),
        number(percent(line["exact_match_rate"]), 1, " %"),
    ]


def _as_good(line: pd.Series) -> str:
    """Whether scores are shown to be as good as the baseline's, and the difference's interval."""
    if pd.isna(line["quality_difference"]):
        return "–"
    word = "yes" if line["as_good"] in (True, "True") else "not shown"
    if line["quality_low"] == line["quality_high"] == 0:
        return f"{word}, equal"
    return f"{word}, {line['quality_low']:+.3f} to {line['quality_high']:+.3f}"


def _guards(line: pd.Series) -> list[str]:
    return [
        number(line["tokens"], 0),
        number(line["extra_memory_mb"], 2),
        number(line["rouge2_vs_ar"], 3),
        number(line["length_ratio"], 3),
        _as_good(line),
        number(100 * line["loop_rate"], 1, " %"),
    ]
