"""Tables of an experiment: the paper's four, one tidy summary, and what the figures need."""

import math
from pathlib import Path
from typing import Any

import pandas as pd

from harness.analysis.acceptance import by_depth, by_node
from harness.analysis.best_size import best_sizes
from harness.analysis.cost import cost_model, costs, forwards
from harness.analysis.definitions import definitions
from harness.analysis.detectable import detectable
from harness.analysis.draft_sizes import curves, reach
from harness.analysis.facts import AA_BAND, LOOP_LIMIT, common_provenance, frozen_prompts, page_one
from harness.analysis.fairness import checklist
from harness.analysis.phases import phases
from harness.analysis.preparation import arm_costs, break_even, preparation
from harness.analysis.quality import equivalence, loops, rouge2, scores
from harness.analysis.rows import AGAIN, BASELINE, load_rows, session_files
from harness.analysis.statistics import log_ratio, per_question, question_ratio, ranks
from harness.analysis.twins import twins
from harness.errors import HarnessError
from harness.files import read_json, replacing, sha256_file, write_json

WIDTH = "width_matched"
PAPER_TABLES = ("speedup", "acceptance_length", "draft_size", "rouge2")
TIE_MARGIN = 1e-4  # of float32 logits; in half precision their rounding is measured


def write_tables(experiment: dict[str, Any], root: Path) -> None:
    """Read rows, prompts and provenance under ``root``; write ``<root>/tables/``."""
    files = session_files(root, experiment)
    rows = load_rows(files)
    provenance = common_provenance(files)
    out = root / "tables"
    prompts = frozen_prompts(root, rows)
    lossy = [arm for arm, kept in provenance["lossless"].items() if not kept]
    divergences = _divergences(rows[~rows["arm"].isin(lossy)])
    _write(out / "divergences.csv", divergences)
    order = {name: place for place, name in enumerate(experiment["methods"])}
    summary = pd.DataFrame(
        [
            line
            for (model, dataset), cell in rows.groupby(["model", "dataset"], sort=False)
            for line in _summarise(experiment, root, (model, dataset), cell, prompts)
        ]
    )
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
        "twins": twins(shown),
        "detectable": {
            f"{line['model']}/{line['dataset']}": float(line["detectable"])
            for _, line in told.iterrows()
        },
        "checklist": checklist(experiment, rows, summary, prepared),
        "divergences": divergences["cause"].value_counts().to_dict(),
    }
    write_json(out / "facts.json", facts)
    bugs = divergences[divergences["cause"] == "METHOD BUG"]
    if len(bugs):
        first = bugs.iloc[0]
        raise HarnessError(
            f"{first['arm']}: {len(bugs)} answers differ from {BASELINE} for no numerical reason, "
            f"first prompt {first['prompt_id']} token {first['index']} (logit gap "
            f"{first['margin']:.2g}); see {out / 'divergences.csv'}"
        )


def _summarise(
    experiment: dict[str, Any],
    root: Path,
    place: tuple[str, str],
    cell: pd.DataFrame,
    prompts: dict[tuple[str, str], dict[str, Any]],
) -> list[dict[str, Any]]:
    """One summary line per arm of a ``place``: (model, dataset)."""
    model, dataset = place
    files = _cell_files(root, experiment, place)
    provenance = read_json(files[0].with_suffix(".provenance.json"))
    lossless, reference = provenance["lossless"], provenance["reference"]
    rows_sha256 = " ".join(map(sha256_file, files))
    timed, whole = per_question(cell), per_question(_with_total(cell), "total_seconds")
    baseline = cell[cell["arm"] == BASELINE]
    truth = baseline.drop_duplicates("prompt_id").set_index("prompt_id")
    looping = _looping(baseline)
    arms = list(dict.fromkeys(cell["arm"]))
    ranked = [a for a in arms if lossless[a] and not reference[a]]
    rank = ranks(timed, ranked) if ranked and not looping and _a_a_passes(timed, arms) else {}
    lines = []
    for arm in arms:
        mine = cell[cell["arm"] == arm]
        line = {
            "experiment": experiment["experiment"],
            "model": model,
            "dataset": dataset,
            "method": arm,
            "lossless": lossless[arm],
            "questions": mine["question_id"].nunique(),
            "sessions": mine["session"].nunique(),
            "tokens": int(mine["tokens"].sum()),
            "tokens_per_second": _rate(mine),
            **_speedups(timed, whole, arm, counted=not looping and not _looping(mine)),
            "rank": rank.get(arm),
            **_per_step(mine, baseline),
            **_quality(dataset, mine, truth, {p: prompts[model, p] for p in truth.index}),
            "extra_memory_mb": provenance["extra_bytes"][arm] / 2**20,
            "peak_memory_mb": math.nan,
            **arm_costs(root, model, arm),
            "rows_sha256": rows_sha256,
        }
        line["break_even_tokens"] = break_even(arm, line, _rate(baseline))
        lines.append(line)
    return lines


def _looping(rows: pd.DataFrame) -> bool:
    """Whether too many answers of an arm go in circles for its speed to mean anything."""
    once = rows.drop_duplicates("prompt_id")
    return float(once["output_ids"].map(loops).mean()) > LOOP_LIMIT


def _a_a_passes(timed: pd.DataFrame, arms: list[str]) -> bool:
    """Whether autoregressive decoding came out as fast as itself."""
    return AGAIN in arms and log_ratio(timed, BASELINE, AGAIN).interval.inside(*AA_BAND)


def _per_step(mine: pd.DataFrame, baseline: pd.DataFrame) -> dict[str, float]:
    """An arm's mean decode step; its cost in autoregressive ones."""
    steps = mine["decode_steps"].sum()
    return {
        "acceptance_length": mine["decode_tokens"].sum() / steps,
        **_acceptance_interval(mine),
        "draft_size": mine["draft_total"].sum() / steps,
        "rows_per_step": mine["rows_total"].sum() / steps,
        "step_cost": _step_seconds(mine) / _step_seconds(baseline),
    }


def _acceptance_interval(mine: pd.DataFrame) -> dict[str, float]:
    """95 % over questions."""
    counts = mine.groupby("question_id")[["decode_tokens", "decode_steps"]].sum()
    found = question_ratio(counts["decode_tokens"], counts["decode_steps"])
    return {"acceptance_length_low": found.low, "acceptance_length_high": found.high}


def _rate(rows: pd.DataFrame) -> float:
    """Decode-phase tokens per second."""
    return float(rows["decode_tokens"].sum() / rows["decode_seconds"].sum())


def _step_seconds(rows: pd.DataFrame) -> float:
    return float(rows["decode_seconds"].sum() / rows["decode_steps"].sum())


def _cell_files(root: Path, experiment: dict[str, Any], place: tuple[str, str]) -> list[Path]:
    """The row files behind a line, sessions in order."""
    return session_files(root, experiment | {"models": place[:1], "datasets": place[1:]})


def _with_total(cell: pd.DataFrame) -> pd.DataFrame:
    return cell.assign(total_seconds=cell["prefill_seconds"] + cell["decode_seconds"])


def _speedups(
    timed: pd.DataFrame, whole: pd.DataFrame, arm: str, *, counted: bool
) -> dict[str, float]:
    """Speedup with its interval, and end to end; NaN where looping answers do not count."""
    columns = ("speedup", "speedup_ci_low", "speedup_ci_high", "end_to_end_speedup")
    if not counted:
        return dict.fromkeys(columns, math.nan)
    if arm == BASELINE:
        return dict(zip(columns, (1.0, math.nan, math.nan, 1.0), strict=True))
    found = log_ratio(timed, BASELINE, arm).interval
    both = log_ratio(whole, BASELINE, arm).interval
    return dict(zip(columns, (found.ratio, found.low, found.high, both.ratio), strict=True))


def _quality(
    dataset: str, mine: pd.DataFrame, truth: pd.DataFrame, prompts: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    """Rouge-2, accuracy and agreement over the timed answers, each prompt's first session."""
    once = mine.drop_duplicates("prompt_id").set_index("prompt_id")
    references = {p: prompts[p]["reference"] for p in once.index}
    own, base = (scores(dataset, table["text"], references) for table in (once, truth))
    against = [rouge2(once.loc[p, "text"], truth.loc[p, "text"]) for p in once.index]
    same = mine["output_ids"] == mine["prompt_id"].map(truth["output_ids"])
    return {
        "rouge2": float(own.mean()) if dataset == "xsum" else math.nan,
        "rouge2_vs_ar": sum(against) / len(against),
        "accuracy": float(own.mean()) if dataset == "gsm8k" else math.nan,
        **equivalence(dataset, own, base),
        "exact_match_rate": float(same.mean()),
        "length_ratio": float(once["tokens"].sum() / truth["tokens"].sum()),
        "loop_rate": float(once["output_ids"].map(loops).mean()),
    }


def _paper_table(summary: pd.DataFrame, value: str, methods: list[str]) -> pd.DataFrame:
    """Methods x (model, dataset): the paper's shape. Rouge-2: against the reference, xsum only."""
    wide = summary.pivot(index="method", columns=["model", "dataset"], values=value)
    wide.columns = [f"{model}/{dataset}" for model, dataset in wide.columns]
    return wide.reindex([m for m in methods if m in wide.index]).reset_index()


def _divergences(rows: pd.DataFrame) -> pd.DataFrame:
    """Answers of lossless arms that differ from the baseline's, each with its cause.

    ``margin``: the target's logit gap between the two tokens; below float32 also ``exact_margin``,
    the gap in float32, and ``rounding``, how far logits are from their float32 values there.
    ``width_matched``: whether the arm of that name, which is as wide as FIRP and accepts nothing,
    leaves the baseline at the same token in the same session; empty without that arm.
    """
    found = rows[rows["divergence"].notna()]
    table = found[["model", "dataset", "session", "prompt_id", "arm"]].assign(
        **{
            key: found["divergence"].map(lambda d, key=key: d.get(key))
            for key in ("index", "margin", "exact_margin", "rounding")
        },
        cause=found["divergence"].map(_cause),
    )
    return table.assign(width_matched=_width_explains(table, rows))


def _width_explains(table: pd.DataFrame, rows: pd.DataFrame) -> list[bool | None]:
    keys = ["model", "dataset", "session", "prompt_id", "index"]
    if WIDTH not in set(rows["arm"]):
        return [None] * len(table)
    wide = set(table[table["arm"] == WIDTH][keys].itertuples(index=False, name=None))
    return [place in wide for place in table[keys].itertuples(index=False, name=None)]


def _cause(divergence: dict[str, float]) -> str:
    """A gap is numerical if both logits' rounding can close it."""
    gap, limit = divergence["margin"], TIE_MARGIN
    if gap == 0:
        return "exact tie"
    if "rounding" in divergence:
        gap, limit = divergence["exact_margin"], 2 * divergence["rounding"]
    return "numerical" if abs(gap) < limit else "METHOD BUG"


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
