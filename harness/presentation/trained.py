"""What the report on how FIRP works shows: states, trees, entry layers, seconds of training.

Of the experiment where it has the data; studies of single choices are kept with the project, since
they take longer than most experiments.
"""

import json
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
# Headers of the studies' tables, and the column below each with its digits.
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


def cosines(folder: Folder) -> pd.DataFrame:
    """Similarities of FIRP's states over the tables' models; of the maps alone in older runs."""
    models = folder.read_json(folder.facts)["experiment"]["models"]
    files = {model: folder.method(model, "firp", COSINE) for model in models}
    found = [
        folder.read_csv(file).assign(model=model) for model, file in files.items() if file.is_file()
    ]
    if not found:
        return pd.DataFrame()
    table = pd.concat(found, ignore_index=True)
    return table if "states" in table else table.assign(states=MAPS, drafts="all")


def cosine_rows(folder: Folder) -> list[list[str]]:
    """Similarities at the first entry and after the last layer, by step; empty without any."""
    table = cosines(folder)
    if table.empty:
        return []
    several = table["model"].nunique() > 1
    ends = table.groupby("model")["layer"].agg(["min", "max"])
    rows = [[*(["model"] if several else []), "step", "after layer", *STATES.values()]]
    for (model, step, layer), mine in table.groupby(["model", "step", "layer"], sort=False):
        if layer not in set(ends.loc[model]):
            continue
        held = mine.set_index(["states", "drafts"])["cosine"]
        figures = [number(held.get(place), 3) for place in STATES]
        rows.append([*([str(model)] if several else []), str(step), str(layer), *figures])
    return rows


def tree_rows(folder: Folder, facts: Facts) -> list[list[str]]:
    """Known trees, the largest difference of a logit and bytes; empty where none was checked."""
    rows: list[list[str]] = []
    for model in facts["experiment"]["models"]:
        file = folder.trees(model)
        if not file.is_file():
            continue
        for _, line in folder.read_csv(file).iterrows():
            cells = [f"{line['error']:.1e}", f"{line['unmasked']:.2g}", number(line["range"], 1)]
            sizes = [_kib(line[name]) for name in ("corner_bytes", "kv_bytes")]
            named = [model] if len(facts["experiment"]["models"]) > 1 else []
            rows.append(
                [*named, line["tree"], str(line["nodes"]), str(line["depth"]), *cells, *sizes]
            )
    if not rows:
        return []
    several = ["model"] if len(rows[0]) > 2 + len(TREES) else []
    return [[*several, "tree", "nodes", *TREES.values()], *rows]


def _kib(size: float) -> str:
    return f"{size / 1024:,.1f} KiB"


def studies(name: str) -> pd.DataFrame:
    """The lines of all kept studies of that name; empty without any."""
    files = sorted(STUDIES.glob("*.csv"))
    found = [pd.read_csv(file) for file in files]
    found = [
        table[table["studies"].fillna("").str.split().map(lambda w: name in w)] for table in found
    ]
    found = [table for table in found if len(table)]
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame()


def top1(table: pd.DataFrame) -> list[str]:
    """The columns that hold the accuracy of each step."""
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
                *(_said(column, line.get(column)) for column in shown),
                *(number(line[step], 3) for step in steps),
                *(number(line.get(column), digits) for column, digits in figures.values()),
            ]
        )
    return rows


def _in_order(column: pd.Series) -> pd.Series:
    """A sorting key: layers as numbers, not as the text that they stand in."""
    if column.name != "entry_layers":
        return column
    return column.map(lambda text: tuple(json.loads(text)))


def _said(column: str, value: object) -> str:
    if column == "method":
        return name_of(str(value))
    if isinstance(value, float):
        return number(value, 0)
    if column == "steps_see_earlier":
        return "yes" if value else "no"
    return str(value).strip("[]") if column == "entry_layers" else str(value)


def mechanism(folder: Folder, facts: Facts) -> list[str]:
    """What was found, in sentences; as many as there are data for."""
    return [*_alike(cosines(folder)), *_exact(tree_rows(folder, facts)), *_fewer(folder)]


def _alike(table: pd.DataFrame) -> list[str]:
    if table.empty or TODAY not in set(table["states"]):
        return []
    said = []
    for model, mine in table.groupby("model", sort=False):
        last = mine[(mine["step"] == 1) & (mine["layer"] == mine["layer"].max())]
        held = last.set_index(["states", "drafts"])["cosine"]
        right, wrong, maps, plain, today = (
            held.get(place, float("nan"))
            for place in (
                *((MAPS, "right"), (MAPS, "wrong"), (MAPS, "all")),
                *((IDENTITY, "all"), (TODAY, "all")),
            )
        )
        said.append(
            f"{model}: a pseudo state of step 1 leaves the last layer with a cosine similarity of "
            f"{maps:.3f} to the real state, {right:.3f} where its draft is right and {wrong:.3f} "
            f"where it is wrong; untrained identity maps give {plain:.3f}, today's real state is "
            f"{today:.3f} like it."
        )
    return said


def _exact(rows: list[list[str]]) -> list[str]:
    if not rows:
        return []
    at = rows[0].index("error")
    worst = max(float(row[at]) for row in rows[1:])
    return [
        f"Tree attention gives what plain forwards of every path give: in {len(rows) - 1} known "
        f"trees no logit is farther off than {worst:.1e}."
    ]


def _fewer(folder: Folder) -> list[str]:
    file = folder.table("draft_size_reach")
    if not file.is_file():
        return []
    table = folder.read_csv(file)
    mine = table[(table["method"] == MAPS) & (table["other"] == "medusa")]
    said = []
    for model, lines in mine.groupby("model", sort=False):
        line = lines.sort_values("other_draft_size").iloc[-1]
        size = f"{line['other_draft_size']:.0f}"
        if pd.isna(line["draft_size"]):
            said.append(
                f"{model}: FIRP accepts less with any number of drafts here than Medusa with {size}"
                "; the paper says as much with a seventh."
            )
            continue
        said.append(
            f"{model}: for as many accepted as Medusa has with {size} drafts, FIRP takes "
            f"{line['draft_size']:.0f}, {line['times_smaller']:.1f} times fewer; the paper says "
            "seven times."
        )
    return said
