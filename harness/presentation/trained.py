"""Tables and sentences of the report on how FIRP works: states, trees, entry layers, training.

States and trees come from the experiment, if it has the data. Studies of single choices take longer
than most experiments, so their results are kept with the project.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from harness.experiment.facts import Facts
from harness.experiment.folder import COSINE, Folder
from harness.presentation.wording import name_of, number

STUDIES = Path("workflows/resources/studies")
MAPS, IDENTITY, TODAY = "firp", "identity", "today"
STATES = {
    (MAPS, "all"): "trained maps",
    (IDENTITY, "all"): "identity maps",
    (TODAY, "all"): "today's state",
    (MAPS, "right"): "right drafts",
    (MAPS, "wrong"): "wrong drafts",
}
TREES = {
    "depth": "depth",
    "error": "error",
    "unmasked": "without mask",
    "range": "largest logit",
    "corner_bytes": "mask written",
    "kv_bytes": "keys, values",
}
# Drafters of learnt.csv.
LEARNT_BY = ("trained", "untrained", "bigram")
# Tables of the studies. Header -> column and digits of figures; column -> header of all others.
ENTRY = {
    "tokens a step": ("predicted_acceptance_length", 2),
    "step cost": ("step_cost", 2),
    "speedup": ("predicted_speedup", 2),
}
SEEING = {
    "model": "model",
    "entry_layers": "enter at",
    "steps_see_earlier": "see each other",
    "seed": "seed",
}
OF_LENGTHS = {"model": "model", "method": "method", "seconds": "seconds"}
LENGTHS = {"tokens a step": ("predicted_acceptance_length", 2)}


def of_firp(folder: Folder, file: str) -> pd.DataFrame:
    """A CSV of FIRP's training or tuning, for all models that have one; empty without any."""
    models = folder.read_json(folder.facts)["experiment"]["models"]
    return folder.of_models(lambda model: folder.method(model, "firp", file), models)


def cosine_rows(folder: Folder) -> list[list[str]]:
    """Similarities by step, where its states enter and after the last layer, or empty."""
    table = of_firp(folder, COSINE)
    if table.empty:
        return []
    several = table["model"].nunique() > 1
    ends = table[table["states"] == MAPS].groupby(["model", "step"])["layer"].agg(["min", "max"])
    rows = [[*(["model"] if several else []), "step", "after layer", *STATES.values()]]
    for (model, step, layer), group in table.groupby(["model", "step", "layer"], sort=False):
        if layer not in set(ends.loc[(model, step)]):
            continue
        similarity = group.set_index(["states", "drafts"])["cosine"]
        figures = [number(similarity.get(place), 3) for place in STATES]
        rows.append([*([str(model)] if several else []), str(step), str(layer), *figures])
    return rows


def learnt_rows(files: Mapping[tuple[str, str], Path]) -> list[list[str]]:
    """Per (method, model), acceptance lengths of what was trained and of what learnt less; empty
    without any. ``files``: each one's learnt.csv.
    """
    if not files:
        return []
    several = len({model for _, model in files}) > 1
    rows = [[*(["model"] if several else []), "method", "drafts", *LEARNT_BY, "over untrained"]]
    for (method, model), file in files.items():
        table = pd.read_csv(file).set_index("drafter")
        lengths = table["acceptance_length"].reindex(list(LEARNT_BY))
        figures = [number(length, 2) for length in lengths]
        ratio = number(lengths["trained"] / lengths["untrained"], 2)
        drafts = str(table["draft_size"].iloc[0])
        rows.append([*([model] if several else []), name_of(method), drafts, *figures, ratio])
    return rows


def tree_rows(folder: Folder, facts: Facts) -> list[list[str]]:
    """Per known tree, how far logits differ from plain forwards, and bytes; empty without any."""
    models = facts["experiment"]["models"]
    several = len(models) > 1
    table = folder.of_models(folder.trees, models)
    if table.empty:
        return []
    rows = [[*(["model"] if several else []), "tree", "nodes", *TREES.values()]]
    for _, line in table.iterrows():
        cells = [f"{line['error']:.1e}", f"{line['unmasked']:.2g}", number(line["range"], 1)]
        sizes = [_kib(line[name]) for name in ("corner_bytes", "kv_bytes")]
        tree = [line["tree"], str(line["nodes"]), str(line["depth"])]
        rows.append([*([line["model"]] if several else []), *tree, *cells, *sizes])
    return rows


def _kib(size: float) -> str:
    return f"{size / 1024:,.1f} KiB"


def studies(name: str) -> pd.DataFrame:
    """The lines of kept results that belong to the study ``name``; empty without any."""
    files = sorted(STUDIES.glob("*.csv"))
    tables = [pd.read_csv(file) for file in files]
    tables = [
        table[table["studies"].fillna("").str.split().map(lambda w: name in w)] for table in tables
    ]
    tables = [table for table in tables if len(table)]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def top1(table: pd.DataFrame) -> list[str]:
    """The names of the columns with the top-1 accuracy of each step."""
    return [column for column in table if column.startswith("top1_step")]


def study_rows(
    name: str, shown: dict[str, str], figures: dict[str, tuple[str, int]]
) -> list[list[str]]:
    """A study's table: columns ``shown`` as they are, each step's accuracy, then ``figures``."""
    table = studies(name)
    if table.empty:
        return []
    steps = top1(table)
    columns = [column for column in shown if column in table]
    table = table.sort_values(columns, kind="stable", key=_in_order)
    header = [*shown.values(), *(f"step {n}" for n in range(1, len(steps) + 1)), *figures]
    rows = [header]
    for _, line in table.iterrows():
        rows.append(
            [
                *(_cell(column, line.get(column)) for column in shown),
                *(number(line[step], 3) for step in steps),
                *(number(line.get(column), digits) for column, digits in figures.values()),
            ]
        )
    return rows


def _in_order(column: pd.Series) -> pd.Series:
    """A sorting key that orders texts of layer lists by their numbers."""
    if column.name != "entry_layers":
        return column
    return column.map(lambda text: tuple(json.loads(text)))


def _cell(column: str, value: object) -> str:
    if column == "method":
        return name_of(str(value))
    if isinstance(value, float):
        return number(value, 0)
    if column == "steps_see_earlier":
        return "yes" if value else "no"
    return str(value).strip("[]") if column == "entry_layers" else str(value)


def mechanism(folder: Folder, facts: Facts) -> list[str]:
    """The findings on how FIRP works, as far as there are data for them."""
    return [
        *_cosine_lines(of_firp(folder, COSINE)),
        *_tree_lines(tree_rows(folder, facts)),
        *_draft_lines(folder),
    ]


def _cosine_lines(table: pd.DataFrame) -> list[str]:
    if table.empty or TODAY not in set(table["states"]):
        return []
    sentences = []
    for model, group in table.groupby("model", sort=False):
        last = group[(group["step"] == 1) & (group["layer"] == group["layer"].max())]
        similarity = last.set_index(["states", "drafts"])["cosine"]
        right, wrong, maps, plain, today = (
            similarity.get(place, float("nan"))
            for place in (
                *((MAPS, "right"), (MAPS, "wrong"), (MAPS, "all")),
                *((IDENTITY, "all"), (TODAY, "all")),
            )
        )
        sentences.append(
            f"{model}: a pseudo state of step 1 leaves the last layer with a cosine similarity of "
            f"{maps:.3f} to the real state, {right:.3f} where its draft is right and {wrong:.3f} "
            f"where it is wrong; untrained identity maps give {plain:.3f}, today's real state is "
            f"{today:.3f} like it."
        )
    return sentences


def _tree_lines(rows: list[list[str]]) -> list[str]:
    if not rows:
        return []
    column = rows[0].index("error")
    worst = max(float(row[column]) for row in rows[1:])
    return [
        f"Tree attention gives what plain forwards of every path give: in {len(rows) - 1} known "
        f"trees no logit is farther off than {worst:.1e}."
    ]


def _draft_lines(folder: Folder) -> list[str]:
    table = folder.read_table("draft_size_reach")
    if table.empty:
        return []
    reaches = table[(table["method"] == MAPS) & (table["other"] == "medusa")]
    sentences = []
    for model, lines in reaches.groupby("model", sort=False):
        lines = lines.sort_values("other_draft_size")
        sizes, needed = (
            ", ".join(number(size, 0) for size in lines[column])
            for column in ("other_draft_size", "draft_size")
        )
        more = "; –: more than in any tree here" if lines["draft_size"].isna().any() else ""
        sentences.append(
            f"{model}: for as many accepted as Medusa has with {sizes} drafts, FIRP takes {needed}"
            f"{more}. Summaries of the paper say a seventh."
        )
    return sentences
