"""Conditions of a fair comparison, each checked on rows, settings or records of the run."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from harness.analysis.preparation import Prepared
from harness.analysis.quality import LOOP_LIMIT
from harness.experiment.facts import AgainFacts, Check
from harness.experiment.folder import CONFIG, SPENT, Folder
from harness.experiment.records import BASELINE
from harness.experiment.steps import Outline

MARGIN = 1.1  # times the budget: a request that was begun is also finished
LEAST_TRAINING = 0.9  # share of its budget that a training must use at least
QUIET = 0.02  # share of a session's core time that other processes and the hypervisor may take
PLACES = 0.15  # how far an arm's mean place may be off the middle, as a share of the places' range

# Top-1 accuracies of the heads that Medusa's authors published, by target and by token ahead
# (assets/medusa_acc.csv of FasterDecoding/Medusa); on their prompts, not on ours.
PUBLISHED_HEADS = {"vicuna-7b": (0.560, 0.316, 0.201)}
SLOWER = 1.25  # times a session's autoregressive step, what timed forwards may foretell for it
LENGTHS = 0.1  # an arm's answers may be that much longer or shorter than autoregressive ones


def checklist(
    outline: Outline, rows: pd.DataFrame, summary: pd.DataFrame, prepared: pd.DataFrame
) -> list[Check]:
    """The checks, with ``holds`` (True, False, or None where it cannot be decided) and a detail.

    ``load_rows`` has already refused arms that got other token ids or prompts, or ran on another
    machine, so the first check always holds.
    """
    return [
        # rows._check_pairing refuses everything else
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
    """Costs, profile, curve and tuning explain rows only if timed on the machine of the rows."""
    elsewhere, silent = [], []
    for model, cell in rows.groupby("model"):
        here = set(cell["fingerprint"])
        for file in _timed_files(prepared, str(model), methods):
            machines = _fingerprints(prepared.folder, file)
            name = f"{model}, {file.parent.name}"
            silent += [] if machines else [name]
            elsewhere += [name] if machines - here else []
    what = "tuning, costs, profile and curve were timed on the sessions' machine"
    if elsewhere:
        return _check(what, False, f"not so: {'; '.join(elsewhere)}")
    return _check(what, None if silent else True, f"{len(silent)} do not tell" if silent else "")


def timed_at_speed(model: pd.DataFrame) -> list[Check]:
    """Whether the timed forwards, from which settings are foretold, fit the sessions: a foretold
    autoregressive step takes at most ``SLOWER`` times as long as a measured one.

    ``model``: the table ``cost_model``. A foretold autoregressive step may well be shorter than a
    measured one: a forward that is timed again and again finds its weights in the caches.
    """
    lines = model[model["method"] == BASELINE]
    ratios = lines["predicted_step_ms"] / lines["measured_step_ms"]
    if ratios.empty:
        return []
    worst = lines.loc[ratios.idxmax()]
    foretold, took = (f"{worst[f'{kind}_step_ms']:.3g}" for kind in ("predicted", "measured"))
    what = f"forwards were timed at most {SLOWER} times slower than sessions ran"
    detail = f"{worst['model']}/{worst['dataset']}: an autoregressive step is foretold at "
    detail += f"{foretold} ms, and took {took}"
    return [_check(what, bool(ratios.max() <= SLOWER), detail)]


def as_published(prepared: Prepared, models: Sequence[str]) -> list[Check]:
    """Medusa's heads beside those of its authors, for targets whose accuracies they published."""
    checks = []
    for model in models:
        ours = prepared.read(model, "medusa", CONFIG).get("top1")
        theirs = PUBLISHED_HEADS.get(model)
        if ours and theirs:
            pairs = list(zip(ours, theirs, strict=False))
            detail = ", ".join(f"{own:.3f} ({other:.3f})" for own, other in pairs)
            what = f"Medusa's heads on {model} are as accurate as its authors'"
            checks.append(_check(what, all(own >= other for own, other in pairs), f"ours {detail}"))
    return checks


def _timed_files(prepared: Prepared, model: str, methods: Sequence[str]) -> list[Path]:
    folder = prepared.folder
    files = [
        *dict.fromkeys(prepared.file(model, method, SPENT) for method in methods),
        *(folder.cost(model), folder.profile(model), folder.curve(model)),
    ]
    return [file for file in files if file.is_file()]


def _fingerprints(folder: Folder, file: Path) -> set[str]:
    """Fingerprints of the machines on which a file's seconds were measured; empty if unrecorded."""
    if file.suffix == ".json":
        fingerprint = folder.read_json(file).get("fingerprint")
        return {fingerprint} if fingerprint else set()
    table = folder.read_csv(file)
    return set(table["fingerprint"]) if "fingerprint" in table else set()


def _within_cap(outline: Outline, rows: pd.DataFrame) -> Check:
    caps = {name: spec["max_new_tokens"] for name, spec in outline["datasets"].items()}
    over = rows[rows["tokens"] > rows["dataset"].map(caps)]
    text = f"{len(over)} answers, of {', '.join(sorted(set(over['arm'])))}" if len(over) else ""
    return _check("no arm's answer is longer than the one cap", over.empty, text)


def _ends(outline: Outline, rows: pd.DataFrame) -> Check:
    """No answer goes on after a token that ended another answer of the same model; an answer that
    no stop token ended is exactly as long as the cap.
    """
    caps = rows["dataset"].map({n: d["max_new_tokens"] for n, d in outline["datasets"].items()})
    stopped = rows[rows["stop_reason"] == "stop"]
    stops = {
        model: {ids[-1] for ids in group["output_ids"]} for model, group in stopped.groupby("model")
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
    text = f"{len(wrong)} answers, of {', '.join(sorted(set(wrong['arm'])))}" if len(wrong) else ""
    return _check(
        "one stop rule: answers end at the first stop token or at the cap", wrong.empty, text
    )


def _order(rows: pd.DataFrame) -> Check:
    """Whole Williams squares balance places exactly; one that a session's end cuts off may not."""
    worst, detail = 0.0, ""
    for (model, dataset), cell in rows.groupby(["model", "dataset"]):
        arms = cell["arm"].nunique()
        # counted anew: an arm that failed later has no rows here, but had a place
        places = cell.groupby(["session", "prompt_id"])["order"].rank() - 1
        means = places.groupby(cell["arm"]).mean()
        off = (means - (arms - 1) / 2).abs() / max(1, arms - 1)
        if off.max() >= worst:
            arm, worst = off.idxmax(), float(off.max())
            place = f"mean place {means[arm] + 1:.1f} of {arms}"
            detail = f"{arm} on {model}/{dataset}: {place}"
    return _check("arms take turns: none is mostly first or last on a set", worst <= PLACES, detail)


def _warm(outline: Outline) -> Check:
    count, shards = outline["warmup"], outline.get("shards", 1)
    each = "session" if shards == 1 else f"shard, {shards} shards a session"
    return _check("every arm is warmed up on other prompts", count > 0, f"{count} a {each}")


def _quiet(rows: pd.DataFrame) -> Check:
    """Counts the time in which arms ran; the worst session decides."""
    what = f"the machine was quiet: others took at most {100 * QUIET:.0f} % of its cores' time"
    cores, others, stolen = (
        rows["device_state"].map(lambda state, name=name: state.get(name, math.nan))
        for name in ("cores_seconds", "others_seconds", "stolen_seconds")
    )
    if cores.isna().any():
        return _check(what, None, "the system does not tell")
    sums = pd.DataFrame({"taken": others + stolen, "all": cores})
    sums = sums.groupby([rows["model"], rows["dataset"], rows["session"]]).sum()
    shares = sums["taken"] / sums["all"].where(sums["all"] > 0)
    if shares.isna().all():
        return _check(what, None, "too short to tell")
    model, dataset, session = shares.idxmax()
    detail = f"{100 * max(0.0, shares.max()):.1f} % in session {session} of {model}/{dataset}"
    return _check(what, bool(shares.max() <= QUIET), detail)


def no_favoured_place(tests: Mapping[str, AgainFacts]) -> Check:
    """The A/A test of every model: the arm that is timed twice a session is equally fast."""
    what = "A/A: autoregressive decoding is as fast as itself (one t test over all sessions, 1 %)"
    details = [
        f"{model}: {test['reason']}"
        if test["p_value"] is None
        else f"{model}: ratio {test['ratio']:.3f}, p = {test['p_value']:.2g}, "
        f"{test['sessions']} sessions"
        for model, test in tests.items()
    ]
    passes = [test["passes"] for test in tests.values() if test["passes"] is not None]
    return _check(what, all(passes) if passes else None, "; ".join(details))


def _lossless(summary: pd.DataFrame) -> Check:
    lines = summary[summary["lossless"].astype(bool)]
    worst = lines["exact_match_rate"].min()
    return _check(
        "lossless arms give autoregressive decoding's own tokens",
        bool(worst == 1),
        "" if worst == 1 else f"{100 * worst:.3f} % of the answers at least",
    )


def _budget(prepared: pd.DataFrame) -> Check:
    """Training and tuning together stay within ``MARGIN`` times the budget, and training uses at
    least ``LEAST_TRAINING`` of its share. A model's ready-made parts were trained for equal times,
    within ``MARGIN``. Parts trained by others, and methods outside the budget, are named.
    """
    what = f"one budget of training and tuning for all, kept within {100 * (MARGIN - 1):.0f} %"
    if prepared["budget_seconds"].isna().all():
        return _check(what, None, "none is set")
    seconds = [name for name in prepared if name.endswith("_seconds")]
    numbers = prepared.assign(**prepared[seconds].apply(pd.to_numeric))
    several = numbers["model"].nunique() > 1
    kept, details = numbers["budget_seconds"].nunique() == 1, []
    for model, lines in numbers.groupby("model", sort=False):
        good, words = _budget_of(lines)
        kept = kept and good
        details += [f"{model}: {word}" if several else word for word in words]
    return _check(what, kept, "; ".join(details))


def _budget_of(lines: pd.DataFrame) -> tuple[bool, list[str]]:
    """Whether one model's methods kept to their budget, and what is to be said of them."""
    bound = lines.dropna(subset=["budget_seconds"])
    shipped = bound["parts"] == "shipped"
    here = bound["training_seconds"].where(~shipped, 0.0).fillna(0)
    over = bound[here + bound["tuning_seconds"].fillna(0) > MARGIN * bound["budget_seconds"]]
    under = bound[bound["training_seconds"] < LEAST_TRAINING * bound["training_budget_seconds"]]
    made = bound["training_seconds"][shipped]
    unequal = len(made) > 0 and made.max() > MARGIN * made.min()
    words = [
        f"{name} took {word}"
        for frame, word in ((over, "more"), (under, "less"))
        for name in frame["method"]
    ]
    if len(made):
        words.append(f"ready-made parts learnt for {made.min():.0f} to {made.max():.0f} s")
    outside = {
        "trained by others": bound["method"][bound["parts"] == "published"],
        "outside it": lines["method"][lines["budget_seconds"].isna()],
    }
    words += [f"{word}: {', '.join(names)}" for word, names in outside.items() if len(names)]
    return over.empty and under.empty and not unequal, words


def _loops(summary: pd.DataFrame) -> Check:
    counted = summary[summary["method"] == BASELINE]["speedup"].notna()
    return _check(
        f"at most {100 * LOOP_LIMIT:.0f} % of autoregressive answers loop",
        bool(counted.all()),
        "" if counted.all() else "no speedup is shown where they do",
    )


def _lengths(summary: pd.DataFrame) -> Check:
    """An arm whose answers are shorter or longer runs other steps, which may be faster ones."""
    shifted = summary[(summary["length_ratio"] - 1).abs() > LENGTHS]
    details = [
        f"{line['method']} on {line['model']}/{line['dataset']}: {line['length_ratio']:.2f} times"
        for _, line in shifted.iterrows()
    ]
    what = f"no arm's answers are over {100 * LENGTHS:.0f} % longer or shorter than the others'"
    return _check(what, not details, "; ".join(details))
