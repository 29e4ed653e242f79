"""One line per arm on a model and data set: speed, acceptance, quality and costs."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import pandas as pd

from harness.analysis.facts import Prompts, Provenances
from harness.analysis.preparation import Prepared, arm_costs, break_even
from harness.analysis.quality import LOOP_LIMIT, equivalence, loops, scores
from harness.analysis.statistics import Timed, log_ratio, per_question, question_ratio, rate
from harness.datasets import find_dataset
from harness.datasets.xsum import rouge2
from harness.experiment.folder import Cell, Folder
from harness.experiment.records import BASELINE, Provenance
from harness.experiment.steps import Outline

Line: TypeAlias = dict[str, Any]  # of the summary, by column


@dataclass(frozen=True, slots=True)
class Run:
    """The results of an experiment, read from its folder. ``rows``: those of arms that did not fail
    on the model and data set; ``failures``: why others did; ``prompts``: by (model, prompt id).
    """

    outline: Outline
    folder: Folder
    rows: pd.DataFrame
    failures: pd.DataFrame
    provenances: Provenances
    prompts: Prompts

    @property
    def provenance(self) -> Provenance:
        """Provenance of the first session; what must be equal is the same in all of them."""
        return self.provenances.all[0]

    @property
    def prepared(self) -> Prepared:
        """The training and tuning behind the arms."""
        told = self.provenance
        return Prepared(self.folder, told["uses"], told["trained"], told["tuned"])

    @property
    def ranked(self) -> list[str]:
        """Arms that are ranked: lossless ones, yardsticks left out."""
        lossless, reference = self.provenance["lossless"], self.provenance["reference"]
        return [arm for arm in lossless if lossless[arm] and not reference[arm]]

    def place(self, column: pd.Series) -> pd.Series:
        """A sorting key: methods in the order of the config."""
        order = {name: place for place, name in enumerate(self.outline["methods"])}
        return column.map(order) if column.name == "method" else column


def summarise(run: Run, place: Cell, cell: pd.DataFrame) -> list[Line]:
    """One summary line per arm; ``cell``: the rows of the model and data set ``place``."""
    model, dataset = place
    files = run.folder.cells(run.outline)[place]
    rows_sha256 = " ".join(map(run.folder.sha256, files))
    timed, end_to_end = per_question(cell), per_question(_with_total(cell), "total_seconds")
    baseline = cell[cell["arm"] == BASELINE]
    asked = {name: run.prompts[model, name] for name in baseline["prompt_id"].unique()}
    looping, prepared = _looping(baseline), run.prepared
    lines = []
    for arm, arm_rows in cell.groupby("arm", sort=False):
        line: Line = {
            "experiment": run.outline["experiment"],
            "model": model,
            "dataset": dataset,
            "method": arm,
            "lossless": run.provenance["lossless"][arm],
            "failure": None,
            "questions": arm_rows["question_id"].nunique(),
            "sessions": arm_rows["session"].nunique(),
            "tokens": int(arm_rows["tokens"].sum()),
            "tokens_per_second": rate(arm_rows),
            **_speedups(timed, end_to_end, arm, counted=not looping and not _looping(arm_rows)),
            **_per_step(arm_rows, baseline),
            **_quality(dataset, arm_rows, baseline, asked),
            **_memory(arm_rows, run.provenances.held(place, arm)),
            **arm_costs(prepared, model, arm),
            "rows_sha256": rows_sha256,
        }
        line["break_even_tokens"] = break_even(prepared, arm, line, rate(baseline))
        lines.append(line)
    return lines


def _memory(arm_rows: pd.DataFrame, held_bytes: int) -> dict[str, float]:
    """MiB that an arm holds beside the target's weights, by computation; the peak adds the most GPU
    memory that its runs allocated beyond what was allocated as they began, and is NaN on a CPU.
    """
    taken = arm_rows["device_state"].map(lambda state: state.get("gpu_taken_mb", math.nan)).max()
    extra = held_bytes / 2**20
    return {"extra_memory_mb": extra, "peak_memory_mb": extra + taken}


def with_failures(
    summary: pd.DataFrame, failures: pd.DataFrame, lossless: dict[str, bool]
) -> pd.DataFrame:
    """The summary with a line for each arm that failed: the reason, and no figures."""
    if failures.empty:
        return summary
    failed = failures.rename(columns={"arm": "method"})
    failed = failed.drop_duplicates(["model", "dataset", "method"])
    failed = failed[["model", "dataset", "method", "failure"]].assign(
        experiment=summary["experiment"].iloc[0], lossless=failed["method"].map(lossless)
    )
    counts = dict.fromkeys(("questions", "sessions", "tokens"), "Int64")
    return pd.concat([summary, failed]).astype(counts)


def _looping(rows: pd.DataFrame) -> bool:
    """Whether so many answers of an arm loop (``LOOP_LIMIT``) that its speed means nothing."""
    once = rows.drop_duplicates("prompt_id")
    return float(once["output_ids"].map(loops).mean()) > LOOP_LIMIT


def _per_step(arm_rows: pd.DataFrame, baseline: pd.DataFrame) -> dict[str, float]:
    """Means over an arm's decode steps; ``step_cost`` is relative to an autoregressive step."""
    steps = arm_rows["decode_steps"].sum()
    return {
        "acceptance_length": arm_rows["decode_tokens"].sum() / steps,
        **_acceptance_interval(arm_rows),
        "draft_size": arm_rows["draft_total"].sum() / steps,
        "rows_per_step": arm_rows["rows_total"].sum() / steps,
        "step_cost": _step_seconds(arm_rows) / _step_seconds(baseline),
    }


def _acceptance_interval(arm_rows: pd.DataFrame) -> dict[str, float]:
    """95 % interval of the acceptance length, over questions."""
    counts = arm_rows.groupby("question_id")[["decode_tokens", "decode_steps"]].sum()
    interval = question_ratio(counts["decode_tokens"], counts["decode_steps"])
    return {"acceptance_length_low": interval.low, "acceptance_length_high": interval.high}


def _step_seconds(rows: pd.DataFrame) -> float:
    return float(rows["decode_seconds"].sum() / rows["decode_steps"].sum())


def _with_total(cell: pd.DataFrame) -> pd.DataFrame:
    return cell.assign(total_seconds=cell["prefill_seconds"] + cell["decode_seconds"])


def _likeness(text: str, other: str) -> float:
    """Rouge-2, but 1 for equal texts, even where they have fewer than two words."""
    return 1.0 if text == other else rouge2(text, other)


def _speedups(timed: Timed, end_to_end: Timed, arm: str, *, counted: bool) -> dict[str, float]:
    """Speedup with its interval, and end-to-end speedup; all NaN unless ``counted`` (no loops)."""
    columns = ("speedup", "speedup_ci_low", "speedup_ci_high", "end_to_end_speedup")
    if not counted:
        return dict.fromkeys(columns, math.nan)
    if arm == BASELINE:
        return dict(zip(columns, (1.0, math.nan, math.nan, 1.0), strict=True))
    decode = log_ratio(timed, BASELINE, arm).interval
    total = log_ratio(end_to_end, BASELINE, arm).interval
    return dict(zip(columns, (decode.ratio, decode.low, decode.high, total.ratio), strict=True))


def _same_answers(arm_rows: pd.DataFrame, baseline: pd.DataFrame) -> float:
    """Share of answers that equal the baseline's in the same session."""
    keys = ["session", "prompt_id"]
    truth = baseline[[*keys, "output_ids"]]
    paired = arm_rows.merge(truth, on=keys, suffixes=("", "_truth"), validate="one_to_one")
    return float((paired["output_ids"] == paired["output_ids_truth"]).sum() / len(arm_rows))


def _quality(
    dataset: str, arm_rows: pd.DataFrame, baseline: pd.DataFrame, prompts: Mapping[str, Line]
) -> Line:
    """Scores of the first answer to each prompt; ``exact_match_rate`` is over all sessions."""
    once, truth = (
        table.drop_duplicates("prompt_id").set_index("prompt_id") for table in (arm_rows, baseline)
    )
    references = {p: prompts[p]["reference"] for p in once.index}
    arm_scores, base = (scores(dataset, table["text"], references) for table in (once, truth))
    score = find_dataset(dataset).score
    against = [_likeness(once.loc[p, "text"], truth.loc[p, "text"]) for p in once.index]
    return {
        **{"rouge2": math.nan, "rouge2_vs_ar": sum(against) / len(against), "accuracy": math.nan},
        **({score.column: float(arm_scores.mean())} if score else {}),
        **equivalence(dataset, arm_scores, base),
        "exact_match_rate": _same_answers(arm_rows, baseline),
        "length_ratio": float(once["tokens"].sum() / truth["tokens"].sum()),
        "loop_rate": float(once["output_ids"].map(loops).mean()),
    }
