"""What the list of fairness says of budgets, model by model."""

from typing import Any

import pandas as pd

from harness.analysis.fairness import _budget

LINE: dict[str, Any] = {
    "model": "small",
    "method": "firp",
    "parts": "shipped",
    "training_seconds": 600.0,
    "training_budget_seconds": None,
    "tuning_seconds": 18.0,
    "budget_seconds": 18.0,
}


def told(*changes: dict[str, Any]) -> tuple[bool | None, str]:
    check = _budget(pd.DataFrame([LINE | change for change in changes]))
    return check["holds"], check["detail"]


def test_ready_made_parts_are_compared_within_a_model() -> None:
    large = {"model": "large", "training_seconds": 170.0}
    holds, detail = told({}, large)
    assert holds
    assert detail == (
        "small: ready-made parts learnt for 600 to 600 s; "
        "large: ready-made parts learnt for 170 to 170 s"
    )
    assert told({}, large | {"model": "small"})[0] is False, "control"


def test_what_took_too_long_is_named_with_its_model() -> None:
    holds, detail = told({}, {"model": "large", "tuning_seconds": 30.0})
    assert holds is False
    assert "large: firp took more" in detail
    assert "small: firp took more" not in detail


def test_weights_that_others_trained_are_named() -> None:
    theirs = {"method": "theirs", "parts": "published", "training_seconds": None}
    holds, detail = told({}, theirs, {"method": "hf_generate", "budget_seconds": None})
    assert holds
    assert detail.endswith("trained by others: theirs; outside it: hf_generate")
    assert told({"budget_seconds": None}) == (None, "none is set")
