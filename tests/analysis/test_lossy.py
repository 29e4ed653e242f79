"""How far lossy arms are from the target: means over tokens, and the sentence that tells them."""

import math
from pathlib import Path

import pandas as pd
import pytest

from harness.analysis.lossy import distances
from harness.experiment.folder import Folder
from harness.presentation.explain import lossy_lines


def row(arm: str, question: str, tokens: int, distance: float | None) -> dict[str, object]:
    place = {"model": "mini", "dataset": "gsm8k", "arm": arm, "question_id": question}
    return {**place, "tokens": tokens, "distance": distance}


ROWS = pd.DataFrame(
    [
        row("autoregressive", "1", 10, None),
        row("medusa_typical", "1", 10, 0.1),
        row("medusa_typical", "2", 30, 0.3),
        row("medusa_typical", "2", 20, 0.0),
    ]
)


def test_an_answer_counts_by_its_tokens() -> None:
    (line,) = distances(ROWS).to_dict("records")
    assert (line["method"], line["tokens"]) == ("medusa_typical", 60)
    assert line["distance"] == pytest.approx((10 * 0.1 + 30 * 0.3) / 60)
    assert line["distance_low"] < line["distance"] < line["distance_high"]
    (alone,) = distances(ROWS[ROWS["question_id"] == "1"]).to_dict("records")
    assert math.isnan(alone["distance_low"]), "one question says nothing of others"


def test_without_a_lossy_arm_there_are_no_lines() -> None:
    assert distances(ROWS[:1]).empty
    assert distances(ROWS.drop(columns="distance")).empty, "rows of an older version"


def test_the_sentence_says_the_figures(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    assert lossy_lines(folder, "gsm8k") == []
    folder.tables.mkdir()
    distances(ROWS).to_csv(folder.table("lossy"), index=False)
    (line,) = lossy_lines(Folder(tmp_path), "gsm8k")
    assert line.startswith("Medusa, typical (lossy) on mini") and "0.167 away" in line
    assert lossy_lines(Folder(tmp_path), "xsum") == []
