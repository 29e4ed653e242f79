"""Speedups on hand-made rows whose truth is known."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from harness.analysis.coverage import WORLDS, coverage
from harness.analysis.quality import equivalence, loops
from harness.analysis.statistics import (
    LogRatio,
    holm,
    log_ratio,
    per_question,
    question_ratio,
)
from harness.datasets.gsm8k import gsm8k_answer, is_right
from harness.datasets.xsum import rouge2


def rows(factors: dict[str, float], sessions: int = 5, questions: int = 20) -> pd.DataFrame:
    """Arm a takes base / factor seconds; sessions and questions vary a little."""
    rng = np.random.default_rng(0)
    lines = []
    for session in range(sessions):
        for question in range(questions):
            base = 1 + question / questions
            for arm, factor in factors.items():
                noise = math.exp(rng.normal(0, 0.01))
                lines.append(
                    {
                        "session": session,
                        "question_id": question,
                        "arm": arm,
                        "decode_seconds": base / factor * noise,
                        "decode_tokens": 10 + question,
                    }
                )
    return pd.DataFrame(lines)


def test_a_ratio_of_sums_is_what_it_says() -> None:
    cell = per_question(rows({"ar": 1.0, "x": 2.0}))
    base, other = (cell[arm][0].sum() for arm in ("ar", "x"))
    found = log_ratio(cell, "ar", "x").interval
    assert found.ratio == pytest.approx(base / other)
    assert found.low < 2.0 < found.high
    assert found.high - found.low < 0.1


def test_the_same_arm_twice_is_inside_the_band_and_a_slower_one_is_not() -> None:
    cell = per_question(rows({"ar": 1.0, "again": 1.0, "slow": 0.9}))
    same, slower = (log_ratio(cell, "ar", arm).interval for arm in ("again", "slow"))
    assert 0.97 < same.low < same.high < 1.03
    assert slower.low < 0.97


def test_one_session_gives_no_interval() -> None:
    found = log_ratio(per_question(rows({"ar": 1.0, "x": 2.0}, sessions=1)), "ar", "x").interval
    assert found.ratio == pytest.approx(2.0, rel=0.05)
    assert math.isnan(found.low)


def test_session_spread_widens_the_interval_though_questions_agree() -> None:
    steady = rows({"ar": 1.0, "x": 2.0})
    drifting = steady.copy()
    slow = (drifting["arm"] == "x") & (drifting["session"] % 2 == 0)
    drifting.loc[slow, "decode_seconds"] *= 1.1
    widths = [log_ratio(per_question(frame), "ar", "x").half_width for frame in (steady, drifting)]
    assert widths[1] > 3 * widths[0]


@pytest.mark.parametrize("spread", [(0.02, 0.01), (0.0, 0.01), (0.01, 0.0)])
def test_a_p_value_and_an_interval_say_the_same(spread: tuple[float, float]) -> None:
    for p in (0.2, 0.05, 1e-4):
        found = LogRatio(0.0, *spread, sessions=5, questions=18)
        found = replace(found, estimate=-found.half(p))
        assert found.p_value == pytest.approx(p, rel=1e-6)
    assert replace(found, estimate=0.0).p_value == 1
    assert replace(found, estimate=9.0).p_value < 1e-5


def test_without_an_interval_there_is_no_p_value() -> None:
    assert math.isnan(LogRatio(0.1, math.nan, 0.01, 1, 18).p_value)
    assert math.isnan(LogRatio(0.1, 0.01, math.nan, 5, 1).p_value)


def test_holm_on_a_hand_computed_case() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert all(map(math.isnan, holm([math.nan, math.nan]))), "nothing was tested"


def test_answers_follow_the_hash_convention() -> None:
    assert gsm8k_answer("so 4 * 5 = 20\n#### 1,020") == "1020"
    assert gsm8k_answer("no mark 12") is None
    assert gsm8k_answer("#### $4.50\n\nQuestion: and 3?\n#### 3") == "4.5", "the first counts"
    assert gsm8k_answer("#### 18\n\n####") == "18"
    assert gsm8k_answer("#### none\n#### 18") == "18"
    assert is_right("#### 7.0", "work\n#### 7")
    assert not is_right("#### 8", "#### 7")


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("-$5", "-5"),
        ("$-5", "-5"),
        ("\u22125", "-5"),
        (".5", "0.5"),
        ("$.50", "0.5"),
        ("1 000", "1000"),
        ("10\u00a0000", "10000"),
        ("1\u202f234\u202f567.25", "1234567.25"),
        ("12,345", "12345"),
        ("7 apples", "7"),
        ("18 1000", "18"),
        ("-0", "0"),
        ("of $", None),
    ],
)
def test_numbers_are_read_as_people_write_them(written: str, value: str | None) -> None:
    assert gsm8k_answer(f"so it is\n#### {written}") == value


def test_rouge2_of_known_texts() -> None:
    assert rouge2("the cat sat", "the cat sat") == 1.0
    assert rouge2("the cat sat", "the cat ran") == pytest.approx(0.5)
    assert rouge2("a b c", "x y z") == 0.0


def test_a_loop_is_an_eight_gram_three_times() -> None:
    assert loops(list(range(8)) * 3)
    assert not loops(list(range(8)) * 2)
    assert not loops(list(range(40)))


COMMITTED = pd.read_csv("workflows/resources/coverage.csv")


def test_intervals_hold_the_truth_wherever_it_was_tried() -> None:
    assert len(COMMITTED) == len(WORLDS)
    assert (COMMITTED["repeats"] >= 500).all()
    assert COMMITTED["coverage"].min() >= 0.93


def test_a_bootstrap_of_prompts_does_not_where_sessions_differ() -> None:
    """The control: with nothing but a session's own speed, it says two runs of one arm differ."""
    drifting = COMMITTED.query("question_sd == 0 and session_sd == 0.02")
    assert (drifting["naive_coverage"] < 0.8).all()


@pytest.mark.parametrize("place", [0, 2, 13])
def test_the_committed_coverage_is_what_the_simulation_gives(place: int) -> None:
    found, kept = coverage(WORLDS[place], 500), COMMITTED.iloc[place]
    for name in ("coverage", "naive_coverage", "half_width"):
        assert found[name] == pytest.approx(kept[name], rel=1e-3)


def test_equal_scores_are_as_good_and_worse_ones_are_not() -> None:
    base = pd.Series([0.5, 0.6, 0.7, 0.8] * 6)
    noise = pd.Series([0.01, -0.01, 0.02, -0.02] * 6)
    assert equivalence("xsum", base, base)["as_good"]
    assert equivalence("xsum", base + noise, base)["as_good"]
    assert not equivalence("xsum", base - 0.03, base)["as_good"]
    assert not equivalence("xsum", base + 10 * noise, base)["as_good"], "too noisy to tell"
    assert equivalence("mtbench", base, base)["as_good"] is None


def test_a_share_of_sums_over_questions() -> None:
    found = question_ratio(pd.Series([1.0, 3.0]), pd.Series([4.0, 4.0]))
    assert found.ratio == 0.5
    # two questions at .25 and .75: standard error .25, t with one degree of freedom 12.706
    assert found.high - found.ratio == pytest.approx(0.25 * 12.706, rel=1e-4)
    assert math.isnan(question_ratio(pd.Series([1.0]), pd.Series([0.0])).ratio)
