"""Tables of an experiment: the paper's four, one tidy summary, and what the figures need."""

from pathlib import Path
from typing import Any

import pandas as pd

from harness.analysis.acceptance import by_depth, by_node
from harness.analysis.best_size import best_sizes
from harness.analysis.cost import cost_model, costs, forwards
from harness.analysis.definitions import definitions
from harness.analysis.detectable import detectable
from harness.analysis.divergences import divergences
from harness.analysis.draft_sizes import curves, reach
from harness.analysis.facts import common_provenance, frozen_prompts, page_one
from harness.analysis.fairness import checklist, timed_together
from harness.analysis.phases import phases
from harness.analysis.preparation import preparation
from harness.analysis.rows import BASELINE, load_failures, load_rows, session_files
from harness.analysis.summary import summarise, with_failures
from harness.analysis.twins import twins
from harness.errors import HarnessError
from harness.files import replacing, write_json

PAPER_TABLES = ("speedup", "acceptance_length", "draft_size", "rouge2")


def write_tables(experiment: dict[str, Any], root: Path) -> None:
    """Read rows, prompts and provenance under ``root``; write ``<root>/tables/``."""
    files = session_files(root, experiment)
    rows, failures = load_rows(files), load_failures(files)
    provenance = common_provenance(root, files)
    out = root / "tables"
    prompts = frozen_prompts(root, rows)
    lossy = [arm for arm, kept in provenance["lossless"].items() if not kept]
    differing = divergences(rows[~rows["arm"].isin(lossy)])
    _write(out / "divergences.csv", differing)
    order = {name: place for place, name in enumerate(experiment["methods"])}
    summary = pd.DataFrame(
        [
            line
            for (model, dataset), cell in rows.groupby(["model", "dataset"], sort=False)
            for line in summarise(experiment, root, (model, dataset), cell, prompts)
        ]
    )
    summary = with_failures(summary, failures, provenance["lossless"])
    spent = phases(root, experiment["models"])
    _write(out / "phases.csv", spent)
    summary = summary.merge(spent[["model", "method", "draft_share"]], how="left")

    def place(column: pd.Series) -> pd.Series:
        """Methods in the order of the config."""
        return column.map(order) if column.name == "method" else column

    summary = summary.sort_values(["model", "dataset", "method"], key=place)
    _write(out / "summary.csv", summary)
    for name in PAPER_TABLES:
        _write(out / f"{name}.csv", _paper_table(summary, name, list(order)))
    counted = summary[(summary["method"] == BASELINE) & summary["speedup"].notna()]
    shown = rows.merge(counted[["model", "dataset"]])
    cells = set(counted[["model", "dataset"]].itertuples(index=False, name=None))
    defined = definitions(rows, cells)
    _write(out / "definitions.csv", defined.sort_values("method", key=place, kind="stable"))
    _write(out / "question_speedup.csv", _question_speedups(shown))
    _write(out / "acceptance_by_depth.csv", by_depth(rows))
    _write(out / "acceptance_by_node.csv", by_node(rows))
    told = detectable(shown)
    _write(out / "detectable.csv", told)
    if experiment["draft_sizes"]["methods"]:
        curve = curves(root, experiment["models"])
        _write(out / "draft_size_curve.csv", curve)
        _write(out / "draft_size_reach.csv", reach(curve, experiment["draft_sizes"]["sizes"]))
    for name, table in _cost_tables(experiment, root, rows, prompts, summary).items():
        _write(out / f"{name}.csv", table)
    prepared = preparation(root, experiment)
    _write(out / "preparation.csv", prepared)
    facts = page_one(experiment, root, files, summary) | {
        **{key: provenance[key] for key in ("machine", "packages", "commit", "parameters")},
        "rows": len(rows),
        "failures": failures.to_dict("records"),
        "twins": twins(shown),
        "detectable": {
            f"{line['model']}/{line['dataset']}": float(line["detectable"])
            for _, line in told.iterrows()
        },
        "checklist": [
            *checklist(experiment, rows, summary, prepared),
            timed_together(root, experiment["methods"], rows),
        ],
        "divergences": differing["cause"].value_counts().to_dict(),
    }
    write_json(out / "facts.json", facts)
    bugs = differing[differing["cause"] == "METHOD BUG"]
    if len(bugs):
        first = bugs.iloc[0]
        raise HarnessError(
            f"{first['arm']}: {len(bugs)} answers differ from {BASELINE} for no numerical reason, "
            f"first prompt {first['prompt_id']} token {first['index']} (logit gap "
            f"{first['margin']:.2g}); see {out / 'divergences.csv'}"
        )


def _paper_table(summary: pd.DataFrame, value: str, methods: list[str]) -> pd.DataFrame:
    """Methods x (model, dataset): the paper's shape. Rouge-2: against the reference, xsum only.

    Where an arm failed, the cell says so.
    """
    table, failed = summary.assign(told=summary[value]), summary["failure"].notna()
    if failed.any():
        words = summary[value].map("{:.6g}".format, na_action="ignore").astype(object)
        table["told"] = words.mask(failed, "failed: " + summary["failure"].astype(str))
    wide = table.pivot(index="method", columns=["model", "dataset"], values="told")
    wide.columns = [f"{model}/{dataset}" for model, dataset in wide.columns]
    return wide.reindex([m for m in methods if m in wide.index]).reset_index()


def _question_speedups(rows: pd.DataFrame) -> pd.DataFrame:
    """Speedup of every arm on every question, sessions summed; none where answers loop."""
    keys = ["model", "dataset", "question_id", "arm"]
    if rows.empty:
        return pd.DataFrame(columns=[*keys, "speedup"])
    summed = rows.groupby(keys)[["decode_seconds", "decode_tokens"]].sum()
    summed = summed[summed["decode_tokens"] > 0]  # answers that end with the prefill's token
    rate = (summed["decode_seconds"] / summed["decode_tokens"]).unstack("arm")
    ratio = rate.rdiv(rate[BASELINE], axis=0)
    return ratio.drop(columns=BASELINE).stack().rename("speedup").reset_index()


def _cost_tables(
    experiment: dict[str, Any],
    root: Path,
    rows: pd.DataFrame,
    prompts: dict[tuple[str, str], dict[str, Any]],
    summary: pd.DataFrame,
) -> dict[str, pd.DataFrame]:
    """What forwards cost and what that predicts; none for a run in which they were not timed."""
    known = costs(root, experiment["models"])
    if not known:
        return {}
    tables = {"cost": forwards(known), "cost_model": cost_model(root, rows, prompts, summary)}
    if experiment["draft_sizes"]["methods"]:
        curve = curves(root, experiment["models"])
        tables["best_draft_size"] = best_sizes(root, curve, rows, prompts)
    return tables


def _write(path: Path, table: pd.DataFrame) -> None:
    with replacing(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.6g")
