"""Tables of an experiment: the paper's four, one tidy summary, and what the figures need."""

from collections.abc import Iterable
from pathlib import Path
from typing import cast

import pandas as pd

from harness.analysis.acceptance import by_depth, by_node
from harness.analysis.best_size import best_sizes
from harness.analysis.categories import categories
from harness.analysis.cost_model import copy_shares, cost_model, costs, forwards
from harness.analysis.definitions import definitions
from harness.analysis.detectable import detectable
from harness.analysis.divergences import divergences
from harness.analysis.draft_sizes import reach
from harness.analysis.facts import frozen_prompts, page_one, read_provenances
from harness.analysis.fairness import (
    as_published,
    checklist,
    no_favoured_place,
    timed_at_speed,
    timed_together,
)
from harness.analysis.lossy import distances
from harness.analysis.phases import phases
from harness.analysis.preparation import preparation
from harness.analysis.ranking import Order, order, with_ranks
from harness.analysis.rows import load_rows
from harness.analysis.summary import Run, summarise, with_failures
from harness.analysis.twins import twins
from harness.analysis.uncut import uncut
from harness.errors import HarnessError
from harness.experiment.facts import Facts
from harness.experiment.folder import Folder, write_table
from harness.experiment.records import BASELINE
from harness.experiment.steps import Outline
from harness.files import write_json

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
    """Read rows, prompts and provenance under ``root``; write the tables and facts to
    ``<root>/tables/``. Raises HarnessError, after that, where a method bug is found.
    """
    folder = Folder(root)
    run = _read(outline, folder)
    lossy = [arm for arm, lossless in run.provenance["lossless"].items() if not lossless]
    differing = divergences(run.rows[~run.rows["arm"].isin(lossy)])
    # written first: the rows of a method bug may make the tables below fail
    write_table(folder.table("divergences"), differing)
    profile = phases(folder, outline["models"])
    summary = _summary(run, profile)
    comparison = order(summary, _shown(run, summary), run.ranked)
    summary = with_ranks(summary, comparison)
    tables = {
        "phases": profile,
        "summary": summary,
        "pairs": comparison.pairs,
        **{name: _paper_table(summary, name, outline["methods"]) for name in PAPER_TABLES},
        **_row_tables(run, summary),
        **_size_tables(run, summary),
        "preparation": preparation(run.prepared, outline),
    }
    if "uncut" in outline:
        tables["uncut"] = uncut(folder, outline["models"])
    for name in OPTIONAL - tables.keys():  # tables of an earlier config
        folder.table(name).unlink(missing_ok=True)
    for name, table in tables.items():
        write_table(folder.table(name), table)
    write_json(folder.facts, _facts(run, tables, differing, comparison))
    _refuse_bugs(differing, folder.table("divergences"))


def _read(outline: Outline, folder: Folder) -> Run:
    rows, failures = load_rows(folder.row_files(outline))
    provenances = read_provenances(folder, folder.cells(outline))
    return Run(outline, folder, rows, failures, provenances, frozen_prompts(folder, rows))


def _summary(run: Run, profile: pd.DataFrame) -> pd.DataFrame:
    """One line per model, data set and method, those of arms that failed included."""
    lines = [
        line
        for place, cell in run.rows.groupby(["model", "dataset"], sort=False)
        for line in summarise(run, place, cell)
    ]
    summary = with_failures(pd.DataFrame(lines), run.failures, run.provenance["lossless"])
    summary = summary.merge(profile[["model", "method", "draft_share"]], how="left")
    return summary.sort_values(["model", "dataset", "method"], key=run.place)


def _row_tables(run: Run, summary: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Tables made from rows and prompts, without profile or costs of forwards."""
    shown = _shown(run, summary)
    counted = summary.dropna(subset=["speedup"])[["model", "dataset", "method"]]
    defined = definitions(run.rows, set(counted.itertuples(index=False, name=None)))
    return {
        "definitions": defined.sort_values("method", key=run.place, kind="stable"),
        "question_speedup": _question_speedups(
            shown.merge(counted.rename(columns={"method": "arm"}))
        ),
        "acceptance_by_depth": by_depth(run.rows),
        "acceptance_by_node": by_node(run.rows),
        "detectable": detectable(shown),
        "lossy": distances(run.rows),
        "categories": categories(shown, run.prompts, summary).sort_values(
            ["model", "dataset", "category", "method"], key=run.place, kind="stable"
        ),
    }


def _shown(run: Run, summary: pd.DataFrame) -> pd.DataFrame:
    """Rows of the models and data sets for which speedups are shown."""
    counted = summary[(summary["method"] == BASELINE) & summary["speedup"].notna()]
    return run.rows.merge(counted[["model", "dataset"]])


def _size_tables(run: Run, summary: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Acceptance and speed by draft size, where the experiment asks for them; costs of forwards and
    what they predict, where forwards were timed.
    """
    tables, asked, models = {}, run.outline["draft_sizes"], run.outline["models"]
    curve = run.folder.of_models(run.folder.curve, models) if asked["methods"] else None
    if curve is not None:
        tables = {"draft_size_curve": curve, "draft_size_reach": reach(curve, asked["sizes"])}
    model_costs = costs(run.folder, models)
    if model_costs:
        tables["cost"] = forwards(model_costs)
        tables["cost_model"] = cost_model(model_costs, run, summary)
        if curve is not None:
            tables["best_draft_size"] = best_sizes(model_costs, run, curve)
    return tables


def _facts(
    run: Run, tables: dict[str, pd.DataFrame], differing: pd.DataFrame, comparison: Order
) -> Facts:
    """The facts that reports put into words."""
    outline, summary = run.outline, tables["summary"]
    facts = {
        **page_one(outline, run.folder, summary),
        "machine": run.provenance["machine"],
        "packages": run.provenance["packages"],
        "commit": run.provenances.commit,
        "parameters": run.provenances.parameters,
        "rows": len(run.rows),
        "failures": run.failures.to_dict("records"),
        "a_a": comparison.again,
        "unranked": comparison.unranked,
        "twins": twins(_shown(run, summary)),
        "detectable": {
            f"{line['model']}/{line['dataset']}": float(line["detectable"])
            for _, line in tables["detectable"].iterrows()
        },
        "checklist": [
            *checklist(outline, run.rows, summary, tables["preparation"]),
            no_favoured_place(comparison.again),
            timed_together(run.prepared, outline["methods"], run.rows),
            *(timed_at_speed(tables["cost_model"]) if "cost_model" in tables else []),
            *as_published(run.prepared, outline["models"]),
        ],
        "divergences": differing["cause"].value_counts().to_dict(),
        "uses": run.provenance["uses"],
    }
    if shares := copy_shares(run.folder, outline["models"]):
        facts["copy_shares"] = shares
    return cast(Facts, facts)


def _refuse_bugs(differing: pd.DataFrame, file: Path) -> None:
    """Fail where the answer of a lossless arm differs for no numerical reason."""
    bugs = differing[differing["cause"] == "METHOD BUG"]
    if len(bugs):
        first = bugs.iloc[0]
        raise HarnessError(
            f"{first['arm']}: {len(bugs)} answers differ from {BASELINE} for no numerical reason, "
            f"first prompt {first['prompt_id']} token {first['index']} (logit gap "
            f"{first['margin']:.2g}); see {file}"
        )


def _paper_table(summary: pd.DataFrame, value: str, methods: Iterable[str]) -> pd.DataFrame:
    """Methods x (model, data set), the paper's shape. Rouge-2 is against the reference, xsum only.

    Where an arm failed, the cell holds the reason.
    """
    table, failed = summary.assign(shown=summary[value]), summary["failure"].notna()
    if failed.any():
        words = summary[value].map("{:.6g}".format, na_action="ignore").astype(object)
        table["shown"] = words.mask(failed, "failed: " + summary["failure"].astype(str))
    wide = table.pivot(index="method", columns=["model", "dataset"], values="shown")
    wide.columns = [f"{model}/{dataset}" for model, dataset in wide.columns]
    return wide.reindex([m for m in methods if m in wide.index]).reset_index()


def _question_speedups(rows: pd.DataFrame) -> pd.DataFrame:
    """Speedup of every arm on every question of ``rows``, summed over sessions and turns first."""
    keys = ["model", "dataset", "question_id", "arm"]
    summed = rows.groupby(keys)[["decode_seconds", "decode_tokens"]].sum()
    summed = summed[summed["decode_tokens"] > 0]  # answers that end with the prefill's token
    if summed.empty:
        return pd.DataFrame(columns=[*keys, "speedup"])
    rate = (summed["decode_seconds"] / summed["decode_tokens"]).unstack("arm")
    ratio = rate.rdiv(rate[BASELINE], axis=0)
    return ratio.drop(columns=BASELINE).stack().rename("speedup").reset_index()
