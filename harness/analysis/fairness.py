"""What must hold for a comparison to be called fair, each checked on rows, settings or logs."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from harness.analysis.facts import AA_BAND, LOOP_LIMIT
from harness.analysis.preparation import prepared_as
from harness.analysis.rows import AGAIN, BASELINE
from harness.files import read_json

MARGIN = 1.1  # of the budget: steps are planned, not cut off
QUIET = 0.02  # of all cores' time in a session may go to others than the measured process
PLACES = 0.15  # an arm's mean place in the order may be that far off the middle, in places' range

LENGTHS = 0.1  # an arm's answers may be that much longer or shorter than autoregressive ones

Check = dict[str, Any]


def checklist(
    experiment: dict[str, Any], rows: pd.DataFrame, summary: pd.DataFrame, prepared: pd.DataFrame
) -> list[Check]:
    """Checks with ``holds`` (True, False, or None where it cannot be told) and a detail.

    Rows that fail in their ids, counts or machine never get here: reading them ends in an error.
    """
    return [
        # _check_pairing has refused everything else
        _check("every arm answered the same token ids, once a session, on one machine", True, ""),
        _within_cap(experiment, rows),
        _ends(experiment, rows),
        _order(rows),
        _warm(experiment),
        _quiet(rows),
        _again(summary),
        _lossless(summary),
        _budget(prepared),
        _loops(summary),
        _lengths(summary),
    ]


def _check(what: str, holds: bool | None, detail: str) -> Check:
    return {"what": what, "holds": holds, "detail": detail}


def timed_together(root: Path, methods: Sequence[str], rows: pd.DataFrame) -> Check:
    """Costs, profile, curve and tuning explain rows only if they were timed where the rows were."""
    elsewhere, untold = [], []
    for model, cell in rows.groupby("model"):
        here = set(cell["fingerprint"])
        for file in _timed_files(root, str(model), methods):
            found = _fingerprints(file)
            name = f"{model}, {file.parent.name}"
            untold += [] if found else [name]
            elsewhere += [name] if found - here else []
    what = "tuning, costs, profile and curve were timed on the sessions' machine"
    if elsewhere:
        return _check(what, False, f"not so: {'; '.join(elsewhere)}")
    return _check(what, None if untold else True, f"{len(untold)} do not tell" if untold else "")


def _timed_files(root: Path, model: str, methods: Sequence[str]) -> list[Path]:
    tuned = dict.fromkeys(map(prepared_as, methods))
    files = [
        *(root / "methods" / model / method / "spent.json" for method in tuned),
        *(root / kind / f"{model}.csv" for kind in ("cost", "profile", "curve")),
    ]
    return [file for file in files if file.is_file()]


def _fingerprints(file: Path) -> set[str]:
    """Of the machines that a file's seconds are of; empty where it does not tell."""
    if file.suffix == ".json":
        found = read_json(file).get("fingerprint")
        return {found} if found else set()
    table = pd.read_csv(file, dtype={"fingerprint": str})
    return set(table["fingerprint"]) if "fingerprint" in table else set()


def _within_cap(experiment: dict[str, Any], rows: pd.DataFrame) -> Check:
    caps = {name: spec["max_new_tokens"] for name, spec in experiment["datasets"].items()}
    over = rows[rows["tokens"] > rows["dataset"].map(caps)]
    told = f"{len(over)} answers, of {', '.join(sorted(set(over['arm'])))}" if len(over) else ""
    return _check("no arm's answer is longer than the one cap", over.empty, told)


def _ends(experiment: dict[str, Any], rows: pd.DataFrame) -> Check:
    """No answer goes on after a token that ended another; those that end at the cap reach it."""
    caps = rows["dataset"].map({n: d["max_new_tokens"] for n, d in experiment["datasets"].items()})
    stopped = rows[rows["stop_reason"] == "stop"]
    stops = {
        model: {ids[-1] for ids in mine["output_ids"]} for model, mine in stopped.groupby("model")
    }
    late = pd.Series(
        [
            not stops.get(model, set()).isdisjoint(ids[:-1])
            for model, ids in zip(rows["model"], rows["output_ids"], strict=True)
        ],
        index=rows.index,
    )
    short = (rows["stop_reason"] != "stop") & (rows["tokens"] != caps)
    wrong = rows[late | short]
    told = f"{len(wrong)} answers, of {', '.join(sorted(set(wrong['arm'])))}" if len(wrong) else ""
    return _check(
        "one stop rule: answers end at the first stop token or at the cap", wrong.empty, told
    )


def _order(rows: pd.DataFrame) -> Check:
    """Whole Williams squares balance exactly; what the end of a session cuts off need not."""
    worst, told = 0.0, ""
    for (model, dataset), cell in rows.groupby(["model", "dataset"]):
        arms = cell["arm"].nunique()
        means = cell.groupby("arm")["order"].mean()
        off = (means - (arms - 1) / 2).abs() / max(1, arms - 1)
        if off.max() >= worst:
            arm, worst = off.idxmax(), float(off.max())
            place = f"mean place {means[arm] + 1:.1f} of {arms}"
            told = f"{arm} on {model}/{dataset}: {place}"
    return _check("arms take turns: none is mostly first or last on a set", worst <= PLACES, told)


def _warm(experiment: dict[str, Any]) -> Check:
    count, shards = experiment["warmup"], experiment.get("shards", 1)
    each = "session" if shards == 1 else f"shard, {shards} shards a session"
    return _check("every arm is warmed up on other prompts", count > 0, f"{count} a {each}")


def _quiet(rows: pd.DataFrame) -> Check:
    """While arms ran; the worst session counts."""
    what = f"the machine was quiet: others took at most {100 * QUIET:.0f} % of its cores' time"
    all_of_them, others, stolen = (
        rows["device_state"].map(lambda state, name=name: state.get(name, math.nan))
        for name in ("cores_seconds", "others_seconds", "stolen_seconds")
    )
    if all_of_them.isna().any():
        return _check(what, None, "the system does not tell")
    sums = pd.DataFrame({"taken": others + stolen, "all": all_of_them})
    sums = sums.groupby([rows["model"], rows["dataset"], rows["session"]]).sum()
    shares = sums["taken"] / sums["all"].where(sums["all"] > 0)
    if shares.isna().all():
        return _check(what, None, "too short to tell")
    model, dataset, session = shares.idxmax()
    told = f"{100 * max(0.0, shares.max()):.1f} % in session {session} of {model}/{dataset}"
    return _check(what, bool(shares.max() <= QUIET), told)


def _again(summary: pd.DataFrame) -> Check:
    """Sets without an interval (one session, or looping answers) are not judged."""
    what = "A/A: the interval of autoregressive decoding against itself is inside [0.97, 1.03]"
    again = summary[summary["method"] == AGAIN].dropna(subset=["speedup_ci_low"])
    if again.empty:
        return _check(what, None, "no interval")
    inside = (again["speedup_ci_low"] >= AA_BAND[0]) & (again["speedup_ci_high"] <= AA_BAND[1])
    failed = [f"{line['model']}/{line['dataset']}" for _, line in again[~inside].iterrows()]
    return _check(what, not failed, f"not on {', '.join(failed)}" if failed else "")


def _lossless(summary: pd.DataFrame) -> Check:
    mine = summary[summary["lossless"].astype(bool)]
    worst = mine["exact_match_rate"].min()
    return _check(
        "lossless arms give autoregressive decoding's own tokens",
        bool(worst == 1),
        "" if worst == 1 else f"{100 * worst:.3f} % of the answers at least",
    )


def _budget(prepared: pd.DataFrame) -> Check:
    mine = prepared.dropna(subset=["budget_seconds"])
    what = f"one budget of training and search, kept within {100 * (MARGIN - 1):.0f} %"
    if mine.empty:
        return _check(what, None, "none is set")
    free = prepared[prepared["budget_seconds"].isna()]["method"]
    taken = mine["training_seconds"].fillna(0) + mine["tuning_seconds"].fillna(0)
    over = mine[taken > MARGIN * mine["budget_seconds"]]
    same = mine["budget_seconds"].nunique() == 1
    told = [", ".join(over["method"]) + " took more"] if len(over) else []
    told += [f"outside it: {', '.join(free)}"] if len(free) else []
    return _check(what, same and over.empty, "; ".join(told))


def _loops(summary: pd.DataFrame) -> Check:
    counted = summary[summary["method"] == BASELINE]["speedup"].notna()
    return _check(
        f"at most {100 * LOOP_LIMIT:.0f} % of autoregressive answers loop",
        bool(counted.all()),
        "" if counted.all() else "no speedup is shown where they do",
    )


def _lengths(summary: pd.DataFrame) -> Check:
    """Who ends early or rambles on has other steps to be fast at."""
    shifted = summary[(summary["length_ratio"] - 1).abs() > LENGTHS]
    told = [
        f"{line['method']} on {line['model']}/{line['dataset']}: {line['length_ratio']:.2f} times"
        for _, line in shifted.iterrows()
    ]
    what = f"no arm's answers are over {100 * LENGTHS:.0f} % longer or shorter than the others'"
    return _check(what, not told, "; ".join(told))
