"""Tables of an experiment: the paper's four, one tidy summary, and what the figures need."""

from collections.abc import Iterable
from pathlib import Path
from typing import cast

import pandas as pd

from harness.analysis.acceptance import by_depth, by_node
from harness.analysis.best_size import best_sizes
from harness.analysis.categories import categories
from harness.analysis.cost import Asked, copy_shares, cost_model, costs, forwards
from harness.analysis.definitions import definitions
from harness.analysis.detectable import detectable
from harness.analysis.divergences import divergences
from harness.analysis.draft_sizes import curves, reach
from harness.analysis.facts import frozen_prompts, page_one, read_provenances
from harness.analysis.fairness import (
    as_published,
    checklist,
    no_favoured_place,
    timed_together,
)
from harness.analysis.phases import phases
from harness.analysis.preparation import preparation
from harness.analysis.ranking import Order, order, with_ranks
from harness.analysis.rows import load_rows
from harness.analysis.summary import Run, summarise, with_failures
from harness.analysis.twins import twins
from harness.analysis.uncut import uncut
from harness.errors import HarnessError
from harness.experiment.facts import Facts
from harness.experiment.folder import Folder
from harness.experiment.records import BASELINE
from harness.experiment.steps import Outline
from harness.files import replacing, write_json

PAPER_TABLES = ("speedup", "acceptance_length", "draft_size", "rouge2")
OPTIONAL = {
    "uncut",
    "draft_size_curve",
    "draft_size_reach",
    "cost",
    "cost_model",
    "best_draft_size",
}


def write_tables(outline: Outline, root: Path) -> None:
    """Read rows, prompts and provenance under ``root``; write ``<root>/tables/``."""
    folder = Folder(root)
    run = _read(outline, folder)
    lossy = [arm for arm, kept in run.provenance["lossless"].items() if not kept]
    differing = divergences(run.rows[~run.rows["arm"].isin(lossy)])
    # first: what follows may stumble over a bug's rows
    _write(folder.table("divergences"), differing)
    spent = phases(folder, outline["models"])
    summary = _summary(run, spent)
    compared = order(summary, _shown(run, summary), run.ranked)
    summary = with_ranks(summary, compared)
    tables = {
        "phases": spent,
        "summary": summary,
        "pairs": compared.pairs,
        **{name: _paper_table(summary, name, outline["methods"]) for name in PAPER_TABLES},
        **_row_tables(run, summary),
        **_size_tables(run, summary),
        "preparation": preparation(run.prepared, outline),
    }
    whole = uncut(folder, outline["models"])
    if len(whole):
        tables["uncut"] = whole
    for name in OPTIONAL - tables.keys():  # of an earlier config
        folder.table(name).unlink(missing_ok=True)
    for name, table in tables.items():
        _write(folder.table(name), table)
    write_json(folder.facts, _facts(run, tables, differing, compared))
    _refuse_bugs(differing, folder.table("divergences"))


def _read(outline: Outline, folder: Folder) -> Run:
    rows, failures = load_rows(folder.row_files(outline))
    provenances = read_provenances(folder, folder.cells(outline))
    return Run(outline, folder, rows, failures, provenances, frozen_prompts(folder, rows))


def _summary(run: Run, spent: pd.DataFrame) -> pd.DataFrame:
    """One line per model, data set and method, with all that is known of it."""
    lines = [
        line
        for place, cell in run.rows.groupby(["model", "dataset"], sort=False)
        for line in summarise(run, place, cell)
    ]
    summary = with_failures(pd.DataFrame(lines), run.failures, run.provenance["lossless"])
    summary = summary.merge(spent[["model", "method", "draft_share"]], how="left")
    return summary.sort_values(["model", "dataset", "method"], key=run.place)


def _row_tables(run: Run, summary: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """What rows alone show."""
    shown = _shown(run, summary)
    cells = set(shown[["model", "dataset"]].itertuples(index=False, name=None))
    defined = definitions(run.rows, cells)
    return {
        "definitions": defined.sort_values("method", key=run.place, kind="stable"),
        "question_speedup": _question_speedups(shown),
        "acceptance_by_depth": by_depth(run.rows),
        "acceptance_by_node": by_node(run.rows),
        "detectable": detectable(shown),
        "categories": categories(shown, run.prompts, summary).sort_values(
            ["model", "dataset", "category", "method"], key=run.place, kind="stable"
        ),
    }


def _shown(run: Run, summary: pd.DataFrame) -> pd.DataFrame:
    """Rows of the models and data sets for which speedups are shown."""
    counted = summary[(summary["method"] == BASELINE) & summary["speedup"].notna()]
    return run.rows.merge(counted[["model", "dataset"]])


def _size_tables(run: Run, summary: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Acceptance and speed by draft size, where the experiment asks for it, and what forwards cost
    and what that predicts, where they were timed.
    """
    tables, asked = {}, run.outline["draft_sizes"]
    curve = curves(run.folder, run.outline["models"]) if asked["methods"] else None
    if curve is not None:
        tables = {"draft_size_curve": curve, "draft_size_reach": reach(curve, asked["sizes"])}
    known = costs(run.folder, run.outline["models"])
    if known:
        answered = Asked(run.rows, run.prompts)
        tables["cost"] = forwards(known)
        tables["cost_model"] = cost_model(known, run.prepared, answered, summary)
        if curve is not None:
            tables["best_draft_size"] = best_sizes(known, run.prepared, answered, curve)
    return tables


def _facts(
    run: Run, tables: dict[str, pd.DataFrame], differing: pd.DataFrame, compared: Order
) -> Facts:
    """What reports say in words."""
    outline, summary = run.outline, tables["summary"]
    facts = {
        **page_one(outline, run.folder, summary),
        "machine": run.provenance["machine"],
        "packages": run.provenance["packages"],
        "commit": run.provenances.commit,
        "parameters": run.provenances.parameters,
        "rows": len(run.rows),
        "failures": run.failures.to_dict("records"),
        "a_a": {model: test.as_dict() for model, test in compared.again.items()},
        "unranked": compared.unranked,
        "twins": twins(_shown(run, summary)),
        "detectable": {
            f"{line['model']}/{line['dataset']}": float(line["detectable"])
            for _, line in tables["detectable"].iterrows()
        },
        "checklist": [
            *checklist(outline, run.rows, summary, tables["preparation"]),
            no_favoured_place(compared.again),
            timed_together(run.prepared, outline["methods"], run.rows),
            *as_published(run.prepared, outline["models"]),
        ],
        "divergences": differing["cause"].value_counts().to_dict(),
    }
    if "uses" in run.provenance:
        facts["uses"] = run.provenance["uses"]
    if shares := copy_shares(run.folder, outline["models"]):
        facts["copy_shares"] = shares
    return cast(Facts, facts)


def _refuse_bugs(differing: pd.DataFrame, listed: Path) -> None:
    """Fail where a lossless arm's answer differs for no numerical reason."""
    bugs = differing[differing["cause"] == "METHOD BUG"]
    if len(bugs):
        first = bugs.iloc[0]
        raise HarnessError(
            f"{first['arm']}: {len(bugs)} answers differ from {BASELINE} for no numerical reason, "
            f"first prompt {first['prompt_id']} token {first['index']} (logit gap "
            f"{first['margin']:.2g}); see {listed}"
        )


def _paper_table(summary: pd.DataFrame, value: str, methods: Iterable[str]) -> pd.DataFrame:
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


def _write(path: Path, table: pd.DataFrame) -> None:
    with replacing(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.6g")
