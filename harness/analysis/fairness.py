"""What must hold for a comparison to be called fair, each checked on rows, settings or logs."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from harness.analysis.again import Again
from harness.analysis.preparation import Prepared
from harness.analysis.quality import LOOP_LIMIT
from harness.experiment.facts import Check
from harness.experiment.folder import CONFIG, SPENT, Folder
from harness.experiment.records import BASELINE
from harness.experiment.steps import Outline

MARGIN = 1.1  # of the budget: a request that was begun is ended
LEAST_TRAINING = 0.9  # of its share that a training uses
QUIET = 0.02  # of all cores' time in a session may go to others than the measured process
PLACES = 0.15  # an arm's mean place in the order may be that far off the middle, in places' range

# Shares of tokens that the heads of Medusa's authors get right, by target and by token ahead
# (assets/medusa_acc.csv of FasterDecoding/Medusa); on their prompts, not on ours.
PUBLISHED_HEADS = {"vicuna-7b": (0.560, 0.316, 0.201)}
LENGTHS = 0.1  # an arm's answers may be that much longer or shorter than autoregressive ones


def checklist(
    outline: Outline, rows: pd.DataFrame, summary: pd.DataFrame, prepared: pd.DataFrame
) -> list[Check]:
    """Checks with ``holds`` (True, False, or None where it cannot be told) and a detail.

    Rows that fail in their ids, counts or machine never get here: reading them ends in an error.
    """
    return [
        # _check_pairing has refused everything else
        _check("every arm answered the same token ids, once a session, on one machine", True, ""),
        _within_cap(outline, rows),
        _ends(outline, rows),
        _order(rows),
        _warm(outline),
        _quiet(rows),
        _lossless(summary),
        _budget(prepared),
        _loops(summary),
        _lengths(summary),
    ]


def _check(what: str, holds: bool | None, detail: str) -> Check:
    return {"what": what, "holds": holds, "detail": detail}


def timed_together(prepared: Prepared, methods: Sequence[str], rows: pd.DataFrame) -> Check:
    """Costs, profile, curve and tuning explain rows only if they were timed where the rows were."""
    elsewhere, untold = [], []
    for model, cell in rows.groupby("model"):
        here = set(cell["fingerprint"])
        for file in _timed_files(prepared, str(model), methods):
            found = _fingerprints(prepared.folder, file)
            name = f"{model}, {file.parent.name}"
            untold += [] if found else [name]
            elsewhere += [name] if found - here else []
    what = "tuning, costs, profile and curve were timed on the sessions' machine"
    if elsewhere:
        return _check(what, False, f"not so: {'; '.join(elsewhere)}")
    return _check(what, None if untold else True, f"{len(untold)} do not tell" if untold else "")


def as_published(prepared: Prepared, models: Sequence[str]) -> list[Check]:
    """Medusa's heads beside those of its authors, for targets whose accuracies they tell."""
    found = []
    for model in models:
        ours = prepared.read(model, "medusa", CONFIG).get("top1")
        theirs = PUBLISHED_HEADS.get(model)
        if ours and theirs:
            pairs = list(zip(ours, theirs, strict=False))
            told = ", ".join(f"{own:.3f} ({other:.3f})" for own, other in pairs)
            what = f"Medusa's heads on {model} are as accurate as its authors'"
            found.append(_check(what, all(own >= other for own, other in pairs), f"ours {told}"))
    return found


def _timed_files(prepared: Prepared, model: str, methods: Sequence[str]) -> list[Path]:
    folder = prepared.folder
    files = [
        *dict.fromkeys(prepared.file(model, method, SPENT) for method in methods),
        *(folder.cost(model), folder.profile(model), folder.curve(model)),
    ]
    return [file for file in files if file.is_file()]


def _fingerprints(folder: Folder, file: Path) -> set[str]:
    """Of the machines that a file's seconds are of; empty where it does not tell."""
    if file.suffix == ".json":
        found = folder.read_json(file).get("fingerprint")
        return {found} if found else set()
    table = folder.read_csv(file)
    return set(table["fingerprint"]) if "fingerprint" in table else set()


def _within_cap(outline: Outline, rows: pd.DataFrame) -> Check:
    caps = {name: spec["max_new_tokens"] for name, spec in outline["datasets"].items()}
    over = rows[rows["tokens"] > rows["dataset"].map(caps)]
    told = f"{len(over)} answers, of {', '.join(sorted(set(over['arm'])))}" if len(over) else ""
    return _check("no arm's answer is longer than the one cap", over.empty, told)


def _ends(outline: Outline, rows: pd.DataFrame) -> Check:
    """No answer goes on after a token that ended another; those that end at the cap reach it."""
    caps = rows["dataset"].map({n: d["max_new_tokens"] for n, d in outline["datasets"].items()})
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


def _warm(outline: Outline) -> Check:
    count, shards = outline["warmup"], outline.get("shards", 1)
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


def no_favoured_place(tests: Mapping[str, Again]) -> Check:
    """A/A: what is timed twice a session comes out alike, all data sets of a model together."""
    what = "A/A: autoregressive decoding is as fast as itself (one t test over all sessions, 1 %)"
    told = [
        f"{model}: {test.reason}"
        if test.p_value is None
        else f"{model}: ratio {test.ratio:.3f}, p = {test.p_value:.2g}, {test.sessions} sessions"
        for model, test in tests.items()
    ]
    known = [test.passes for test in tests.values() if test.passes is not None]
    return _check(what, all(known) if known else None, "; ".join(told))


def _lossless(summary: pd.DataFrame) -> Check:
    mine = summary[summary["lossless"].astype(bool)]
    worst = mine["exact_match_rate"].min()
    return _check(
        "lossless arms give autoregressive decoding's own tokens",
        bool(worst == 1),
        "" if worst == 1 else f"{100 * worst:.3f} % of the answers at least",
    )


def _budget(prepared: pd.DataFrame) -> Check:
    """Training uses its share of the budget, no less and no more, and choosing the setting what is
    left; ready-made parts were all trained for the same seconds.
    """
    mine = prepared.dropna(subset=["budget_seconds"]).copy()
    seconds = [name for name in mine if name.endswith("_seconds")]
    mine[seconds] = mine[seconds].apply(pd.to_numeric)
    what = f"one budget of training and tuning for all, kept within {100 * (MARGIN - 1):.0f} %"
    if mine.empty:
        return _check(what, None, "none is set")
    shipped = mine["parts"] == "shipped"
    here = mine["training_seconds"].where(~shipped, 0.0).fillna(0)
    over = mine[here + mine["tuning_seconds"].fillna(0) > MARGIN * mine["budget_seconds"]]
    under = mine[mine["training_seconds"] < LEAST_TRAINING * mine["training_budget_seconds"]]
    made = mine["training_seconds"][shipped]
    unequal = len(made) > 0 and made.max() > MARGIN * made.min()
    told = [
        f"{name} took {word}"
        for frame, word in ((over, "more"), (under, "less"))
        for name in frame["method"]
    ]
    if len(made):
        told.append(f"ready-made parts learnt for {made.min():.0f} to {made.max():.0f} s")
    free = prepared[prepared["budget_seconds"].isna()]["method"]
    told += [f"outside it: {', '.join(free)}"] if len(free) else []
    holds = mine["budget_seconds"].nunique() == 1 and over.empty and under.empty and not unequal
    return _check(what, holds, "; ".join(told))


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
