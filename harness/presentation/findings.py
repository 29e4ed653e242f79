"""The findings of a comparison as sentences made from its numbers: what a reader sees first."""

from collections.abc import Iterator, Mapping
from itertools import islice

import pandas as pd

from harness.analysis.ranking import LEVEL
from harness.datasets import shown_name
from harness.experiment.records import BASELINE
from harness.presentation.wording import interval, joined, name_of, percent

SUBJECT, YARDSTICK = "firp", "hf_generate"


def findings(
    dataset: str,
    summary: pd.DataFrame,
    pairs: pd.DataFrame,
    unranked: Mapping[str, str],
    most: int | None = None,
) -> list[str]:
    """The sentences on one data set, model after model: what failed, then ``most`` others, or all.

    ``summary`` and ``pairs`` are the whole tables; ``unranked`` gives the reason for each
    model/data set that is not ranked. The sentences are about one method, see _subject.
    """
    arms = summary[summary["dataset"] == dataset]
    models = list(dict.fromkeys(arms["model"]))
    sentences = []
    for model in models:
        own = arms[arms["model"] == model].set_index("method")
        others = _model_findings(
            shown_name(dataset),
            own,
            pairs[(pairs["model"] == model) & (pairs["dataset"] == dataset)],
            unranked.get(f"{model}/{dataset}"),
        )
        lines = [*_failures(own), *islice(others, most)]
        sentences += [f"{model}: {line}" if len(models) > 1 else line for line in lines]
    return sentences


def _model_findings(
    name: str, arms: pd.DataFrame, pairs: pd.DataFrame, unranked: str | None
) -> Iterator[str]:
    subject = _subject(arms)
    if subject is None:
        yield (
            f"No speedup is shown on {name}: autoregressive decoding's answers loop or end at once."
        )
        return
    yield _against_baseline(name, subject, arms.loc[subject], subject in level(pairs))
    if unranked:
        yield f"The methods are not ranked: {unranked}."
    else:
        yield from _against_others(subject, _partners(subject, pairs))
    yield from _against_yardstick(subject, pairs)
    yield _answers(arms)


def _failures(arms: pd.DataFrame) -> Iterator[str]:
    for method, why in arms["failure"].dropna().items():
        yield f"{name_of(str(method))} failed ({why}) and has no figures."


def _subject(arms: pd.DataFrame) -> str | None:
    """FIRP; without a speedup of FIRP, the fastest ranked method, or else the fastest other."""
    counted = arms.dropna(subset=["speedup"])
    if SUBJECT in counted.index:
        return SUBJECT
    ranked = counted.dropna(subset=["rank_best"])
    others = ranked if len(ranked) else counted.drop(index=BASELINE, errors="ignore")
    return None if others.empty else str(others["speedup"].idxmax())


def level(pairs: pd.DataFrame) -> set[str]:
    """Arms that are no further from autoregressive decoding than it is from itself, or whose
    interval holds 1: the ties with it among the pairs of one model and data set.
    """
    tied = pairs[pairs["tie"].astype(bool)]
    beside = [(tied["faster"], tied["slower"]), (tied["slower"], tied["faster"])]
    return {arm for one, other in beside for arm in other[one == BASELINE]}


def _against_baseline(name: str, subject: str, line: pd.Series, tied: bool) -> str:
    times = f"{line['speedup']:.2f} times as fast as autoregressive decoding in the same engine"
    step = f"It commits {line['acceptance_length']:.2f} tokens a step"
    if pd.isna(line["speedup_ci_low"]):
        return f"{name_of(subject)} decodes {name} {times}; too little for an interval. {step}."
    span = f"95 % interval {interval(line['speedup_ci_low'], line['speedup_ci_high'])}"
    if line["speedup_ci_low"] > 1 and not tied:
        return f"{name_of(subject)} decodes {name} {times} ({span}). {step}."
    if line["speedup_ci_high"] < 1 and not tied:
        slower = f"{name_of(subject)} is slower on {name} than autoregressive decoding"
        return f"{slower}: {line['speedup']:.2f} times as fast ({span}). {step}."
    shown = f"{name_of(subject)} is not shown to be faster on {name} than autoregressive decoding"
    holds_one = line["speedup_ci_low"] <= 1 <= line["speedup_ci_high"]
    why = "" if holds_one else ", no further off than autoregressive decoding is from itself"
    return f"{shown}: {line['speedup']:.2f} times as fast ({span}){why}. {step}."


def _partners(subject: str, pairs: pd.DataFrame) -> pd.DataFrame:
    """Pairs of the subject with the other ranked methods, which are those with a Holm p-value."""
    tested = pairs.dropna(subset=["p_holm"])
    return tested[(tested["faster"] == subject) | (tested["slower"] == subject)]


def _against_others(subject: str, partners: pd.DataFrame) -> Iterator[str]:
    """Which methods are faster or slower than the subject, and which cannot be told apart."""
    tied = partners["tie"].astype(bool)
    faster = partners[~tied & (partners["slower"] == subject)]
    slower = partners[~tied & (partners["faster"] == subject)]
    for _, pair in faster.iterrows():
        times = _times(pair)
        yield f"{name_of(pair['faster'])} is faster than {name_of(subject)}, {times}."
    if len(slower):
        others = [f"{name_of(pair['slower'])} ({_times(pair)})" for _, pair in slower.iterrows()]
        yield f"{name_of(subject)} is faster than {joined(others)}."
    for _, pair in partners[tied].iterrows():
        other = pair["slower"] if pair["faster"] == subject else pair["faster"]
        yield (
            f"{name_of(subject)} and {name_of(other)} cannot be told apart: "
            f"{name_of(pair['faster'])} comes out {_times(pair)}{_though_apart(pair)}."
        )


def _though_apart(pair: pd.Series) -> str:
    """Why a pair whose own interval leaves out 1 is a tie; empty for others."""
    if not pair["ci_low"] > 1:
        return ""
    if pair["p_holm"] < LEVEL:
        return ", no more than autoregressive decoding is from itself"
    return ", which does not hold over all pairs"


def _times(pair: pd.Series) -> str:
    return f"{pair['ratio']:.2f} times as fast, {interval(pair['ci_low'], pair['ci_high'])}"


def _against_yardstick(subject: str, pairs: pd.DataFrame) -> Iterator[str]:
    """The subject against transformers' generate, to which most published speedups refer."""
    both = {subject, YARDSTICK}
    for _, pair in pairs.iterrows():
        if {pair["faster"], pair["slower"]} != both:
            continue
        span = "" if pd.isna(pair["ci_low"]) else f" ({interval(pair['ci_low'], pair['ci_high'])})"
        own = "transformers' own generate, to which published speedups mostly refer,"
        times, name = f"is {pair['ratio']:.2f} times as fast", name_of(subject)
        if pair["faster"] == subject:
            told = f"Against {own} {name} {times}{span}"
        else:
            told = f"{own[0].upper()}{own[1:]} {times} as {name}{span}"
        if not span:
            yield f"{told}; too little for an interval."
        else:
            yield f"{told}; the two cannot be told apart." if pair["tie"] else f"{told}."


def _answers(arms: pd.DataFrame) -> str:
    """Whether the lossless methods gave autoregressive decoding's own tokens."""
    lossless = arms[arms["lossless"].astype(bool) & arms["exact_match_rate"].notna()]
    differing = lossless[lossless["exact_match_rate"] < 1]
    lossy = [name_of(str(name)) for name in arms.index[~arms["lossless"].astype(bool)]]
    beside = f" {joined(lossy)} may differ by design." if lossy else ""
    if differing.empty:
        return (
            "Every answer of every lossless method is, token for token, that of autoregressive "
            f"decoding.{beside}"
        )
    rates = [
        f"{name_of(str(name))} {percent(rate):.1f} %"
        for name, rate in differing["exact_match_rate"].items()
    ]
    return (
        f"Not all answers of lossless methods are those of autoregressive decoding: {joined(rates)}"
        f" of them are (causes in divergences.csv).{beside}"
    )
