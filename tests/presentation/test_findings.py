"""The sentences that a report begins with: right in every case, and never more than is known."""

import math
from typing import Any

import pandas as pd
import pytest

from harness.presentation.findings import findings

BASELINE: dict[str, Any] = {
    "model": "m",
    "dataset": "gsm8k",
    "method": "autoregressive",
    "lossless": True,
    "failure": None,
    "speedup": 1.0,
    "speedup_ci_low": math.nan,
    "speedup_ci_high": math.nan,
    "acceptance_length": 1.0,
    "rank_best": math.nan,
    "exact_match_rate": 1.0,
}


def arm(method: str, speedup: float, **change: Any) -> dict[str, Any]:
    interval = {"speedup_ci_low": speedup - 0.1, "speedup_ci_high": speedup + 0.1}
    line = {"method": method, "speedup": speedup, "acceptance_length": 3.0, "rank_best": 1}
    return {**BASELINE, **line, **interval, **change}


def pair(faster: str, slower: str, ratio: float, **change: Any) -> dict[str, Any]:
    line = {"model": "m", "dataset": "gsm8k", "faster": faster, "slower": slower, "ratio": ratio}
    figures = {"ci_low": ratio - 0.05, "ci_high": ratio + 0.05, "p_holm": 0.001, "tie": False}
    return {**line, **figures, **change}


def told(
    arms: list[dict[str, Any]],
    pairs: list[dict[str, Any]],
    unranked: str | None = None,
    most: int | None = None,
) -> list[str]:
    reasons = {"m/gsm8k": unranked} if unranked else {}
    columns = list(pair("a", "b", 1.0))
    table = pd.DataFrame(pairs, columns=columns)
    return findings("gsm8k", pd.DataFrame(arms), table, reasons, most)


FIRP, MEDUSA, LOOKAHEAD = arm("firp", 2.2), arm("medusa", 2.4), arm("lookahead", 1.2)


def test_a_whole_comparison() -> None:
    pairs = [
        pair("medusa", "firp", 1.09),
        pair("firp", "lookahead", 1.8),
        pair("firp", "self_speculative", 1.9),
        pair("medusa", "lookahead", 2.0),  # not FIRP's
        pair("firp", "autoregressive", 2.2, p_holm=math.nan),
        pair("firp", "hf_generate", 2.9, p_holm=math.nan),
    ]
    assert told([BASELINE, FIRP, MEDUSA, LOOKAHEAD], pairs) == [
        "FIRP decodes GSM8K 2.20 times as fast as autoregressive decoding in the same engine (95 % "
        "interval 2.10 to 2.30). It commits 3.00 tokens a step.",
        "Medusa is faster than FIRP, 1.09 times as fast, 1.04 to 1.14.",
        "FIRP is faster than Lookahead (1.80 times as fast, 1.75 to 1.85) and self-speculative "
        "(1.90 times as fast, 1.85 to 1.95).",
        "Against transformers' own generate, to which published speedups mostly refer, FIRP is "
        "2.90 times as fast (2.85 to 2.95).",
        "Every answer of every lossless method is, token for token, that of autoregressive "
        "decoding.",
    ]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            pair("hf_generate", "firp", 1.2),
            "Transformers' own generate, to which published speedups mostly refer, is 1.20 times "
            "as fast as FIRP (1.15 to 1.25).",
        ),
        (
            pair("firp", "hf_generate", 1.02, tie=True),
            "Against transformers' own generate, to which published speedups mostly refer, FIRP is "
            "1.02 times as fast (0.97 to 1.07); the two cannot be told apart.",
        ),
    ],
)
def test_generate_is_told_whichever_is_faster(given: dict[str, Any], said: str) -> None:
    assert said in told([BASELINE, FIRP], [given])


@pytest.mark.parametrize(
    ("change", "end"),
    [
        ({"p_holm": 0.14}, "1.35 to 1.45, which does not hold over all pairs."),
        ({"p_holm": 0.01}, "1.35 to 1.45, no more than autoregressive decoding is from itself."),
        ({"p_holm": 0.14, "ci_low": 0.9}, "0.90 to 1.45."),
    ],
)
def test_a_tie_whose_interval_leaves_out_1_is_explained(change: dict[str, Any], end: str) -> None:
    lines = told([BASELINE, FIRP, MEDUSA], [pair("medusa", "firp", 1.4, tie=True, **change)])
    assert lines[1].endswith(end)


@pytest.mark.parametrize("faster", [("firp", "medusa"), ("medusa", "firp")])
def test_what_cannot_be_told_apart_is_called_so(faster: tuple[str, str]) -> None:
    lines = told([BASELINE, FIRP, MEDUSA], [pair(*faster, 1.01, tie=True)])
    first = "Medusa" if faster[0] == "medusa" else "FIRP"
    assert f"FIRP and Medusa cannot be told apart: {first} comes out 1.01 times" in lines[1]
    assert not any("is faster than" in line for line in lines)


@pytest.mark.parametrize(
    ("speedup", "said"),
    [
        (2.0, "FIRP decodes GSM8K 2.00 times as fast"),
        (1.05, "FIRP is not shown to be faster on GSM8K"),
        (0.7, "FIRP is slower on GSM8K than autoregressive decoding: 0.70 times as fast"),
    ],
)
def test_a_speedup_is_called_what_its_interval_allows(speedup: float, said: str) -> None:
    assert told([BASELINE, arm("firp", speedup)], [])[0].startswith(said)


def test_one_session_gives_no_interval() -> None:
    none = {"ci_low": math.nan, "ci_high": math.nan, "p_holm": math.nan, "tie": True}
    line = arm("firp", 2.0, speedup_ci_low=math.nan, speedup_ci_high=math.nan)
    lines = told([BASELINE, line], [pair("firp", "hf_generate", 2.9, **none)])
    assert "too little for an interval" in lines[0]
    assert lines[1].endswith("FIRP is 2.90 times as fast; too little for an interval.")


def test_what_autoregressive_decoding_is_from_itself_is_no_speedup() -> None:
    close = arm("firp", 1.2)
    beside = pair("firp", "autoregressive", 1.2, p_holm=math.nan)
    (said, _) = told([BASELINE, close], [beside | {"tie": True}])
    assert said.startswith("FIRP is not shown to be faster on GSM8K")
    assert "1.10 to 1.30), no further off than autoregressive decoding is from itself. It" in said
    (control, _) = told([BASELINE, close], [beside])
    assert control.startswith("FIRP decodes GSM8K 1.20 times as fast")


def test_where_nothing_is_ranked_nobody_is_called_faster() -> None:
    lines = told([BASELINE, FIRP, MEDUSA], [pair("medusa", "firp", 1.09)], "A/A fails")
    assert "The methods are not ranked: A/A fails." in lines
    assert not any("Medusa" in line for line in lines)


def test_without_firp_the_fastest_ranked_method_is_the_subject() -> None:
    lossy = arm("medusa_typical", 3.0, rank_best=math.nan, lossless=False)
    lines = told([BASELINE, MEDUSA, LOOKAHEAD, lossy], [])
    assert lines[0].startswith("Medusa decodes GSM8K 2.40 times")
    assert lines[-1].endswith("Medusa, typical (lossy) may differ by design.")


def test_failures_and_differing_answers_are_named() -> None:
    failed = arm("medusa", math.nan, failure="out of memory", exact_match_rate=math.nan)
    lines = told([BASELINE, arm("firp", 2.2, exact_match_rate=0.95), failed], [])
    assert lines[0] == "Medusa failed (out of memory) and has no figures."
    assert "FIRP 95.0 % of them are" in lines[-1]
    (_, nearly) = told([BASELINE, arm("firp", 2.2, exact_match_rate=0.9996)], [])
    assert "FIRP 99.9 % of them are" in nearly


def test_looping_answers_show_nothing() -> None:
    lines = told([arm("autoregressive", math.nan), arm("firp", math.nan)], [])
    assert lines == [
        "No speedup is shown on GSM8K: autoregressive decoding's answers loop or end at once."
    ]


def test_each_model_is_named_where_there_are_several() -> None:
    other = [{**line, "model": "n"} for line in (BASELINE, FIRP)]
    lines = told([BASELINE, FIRP, *other], [])
    assert [line[:3] for line in lines] == ["m: ", "m: ", "n: ", "n: "]


def test_a_short_form_says_of_every_model_what_failed_and_the_first_findings() -> None:
    failed = arm("medusa", math.nan, failure="out of memory", exact_match_rate=math.nan)
    other = [{**line, "model": "n"} for line in (BASELINE, FIRP)]
    lines = told([BASELINE, FIRP, failed, *other], [], most=1)
    assert [line[:20] for line in lines] == [
        "m: Medusa failed (ou",
        "m: FIRP decodes GSM8",
        "n: FIRP decodes GSM8",
    ]
    assert len(told([BASELINE, FIRP, failed, *other], [])) > 3, "control"
