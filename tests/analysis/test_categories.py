"""Speed and acceptance by category, from rows made by hand."""

import math
from typing import Any

import pandas as pd
import pytest

from harness.analysis.categories import COLUMNS, categories

# Category -> decode seconds of 20 tokens and the steps that they took, of `fast`; the baseline
# always takes 2 seconds and 20 steps.
FAST = {"math": (0.5, 5), "stem": (1.0, 10)}


def _row(category: str, session: int, arm: str, seconds: float, steps: int) -> dict[str, Any]:
    return {
        "model": "small",
        "dataset": "mtbench",
        "session": session,
        "prompt_id": f"{category}-1",
        "question_id": category,
        "arm": arm,
        "tokens": 21,
        "decode_tokens": 20,
        "decode_steps": steps,
        "decode_seconds": seconds,
    }


def _rows() -> pd.DataFrame:
    lines = []
    for session in (1, 2):
        for category, (seconds, steps) in FAST.items():
            lines.append(_row(category, session, "autoregressive", 2.0, 20))
            lines.append(_row(category, session, "fast", seconds, steps))
    return pd.DataFrame(lines)


def _summary(fast: float = 3.0) -> pd.DataFrame:
    lines = [("small", "mtbench", "autoregressive", 1.0), ("small", "mtbench", "fast", fast)]
    return pd.DataFrame(lines, columns=["model", "dataset", "method", "speedup"])


PROMPTS = {("small", f"{name}-1"): {"category": name} for name in FAST}


def test_each_category_has_its_own_speed_and_acceptance() -> None:
    table = categories(_rows(), PROMPTS, _summary())
    assert list(table) == COLUMNS
    assert set(table["category"]) == set(FAST)
    fast = table[table["method"] == "fast"].set_index("category")
    assert list(fast.loc["math", ["speedup", "acceptance_length"]]) == pytest.approx([4.0, 4.0])
    assert list(fast.loc["stem", ["speedup", "acceptance_length"]]) == pytest.approx([2.0, 2.0])
    assert list(fast["questions"]) == [1, 1], "two sessions repeat one question"
    assert list(fast["tokens"]) == [42, 42]
    assert (table[table["method"] == "autoregressive"]["speedup"] == 1).all()


@pytest.mark.parametrize("prompt", [{"category": "one"}, {}])
def test_a_set_of_one_category_has_no_lines(prompt: dict[str, str]) -> None:
    table = categories(_rows(), dict.fromkeys(PROMPTS, prompt), _summary())
    assert list(table) == COLUMNS
    assert table.empty


def test_no_speedup_stands_where_the_summary_has_none() -> None:
    table = categories(_rows(), PROMPTS, _summary(fast=math.nan)).set_index("method")
    assert table.loc["fast", "speedup"].isna().all()
    assert table.loc["fast", "acceptance_length"].notna().all()
    assert table.loc["autoregressive", "speedup"].notna().all(), "control: another arm's"


@pytest.mark.parametrize("seconds", [0.0, 2e-5])
def test_answers_that_end_with_the_prefill_have_no_rate(seconds: float) -> None:
    rows = _rows()
    rows.loc[rows["question_id"] == "math", ["decode_tokens", "decode_steps"]] = 0
    rows.loc[rows["question_id"] == "math", "decode_seconds"] = seconds
    table = categories(rows, PROMPTS, _summary()).set_index(["category", "method"])
    assert table.loc[("math", "fast"), ["speedup", "acceptance_length"]].isna().all()
    assert table.loc[("stem", "fast"), "speedup"] == pytest.approx(2.0)
