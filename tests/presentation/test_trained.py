"""The report on how FIRP works: its rows and sentences, from tables as the workflow writes them."""

from pathlib import Path
from typing import Any, cast

import pandas as pd
import pytest

from harness.experiment.facts import Facts
from harness.experiment.folder import COSINE, Folder
from harness.files import write_json
from harness.presentation import trained
from harness.presentation.trained import cosine_rows, mechanism, study_rows, tree_rows

FACTS = cast(Facts, {"experiment": {"models": ["mini"]}})


def folder(root: Path, **tables: pd.DataFrame) -> Folder:
    made = Folder(root)
    write_json(made.facts, FACTS)
    for name, table in tables.items():
        table.to_csv(made.table(name), index=False)
    return made


def cosine(root: Path, entries: tuple[int, int] = (2, 2)) -> Folder:
    made = folder(root)
    values = {
        ("firp", "all"): 0.45,
        ("firp", "right"): 0.5,
        ("firp", "wrong"): 0.3,
        ("identity", "all"): 0.24,
        ("today", "all"): 0.26,
    }
    lines = [
        {"states": s, "drafts": d, "step": step, "layer": layer, "cosine": v, "positions": 9}
        for (s, d), v in values.items()
        for step, entry in enumerate(entries, start=1)
        for layer in (2, 3, 5)
        if layer >= entry or s == "today"
    ]
    file = made.method("mini", "firp", COSINE)
    file.parent.mkdir(parents=True)
    pd.DataFrame(lines).to_csv(file, index=False)
    return made


def test_similarities_are_told_at_the_entry_and_after_the_last_layer(tmp_path: Path) -> None:
    made = cosine(tmp_path)
    header, *rows = cosine_rows(made)
    assert header[:2] == ["step", "after layer"]
    assert [row[:2] for row in rows] == [["1", "2"], ["1", "5"], ["2", "2"], ["2", "5"]]
    assert rows[0][2:] == ["0.450", "0.240", "0.260", "0.500", "0.300"]
    (line,) = mechanism(made, FACTS)
    assert "0.450 to the real state, 0.500 where its draft is right and 0.300" in line


def test_a_step_that_enters_later_is_told_from_there_on(tmp_path: Path) -> None:
    _, *rows = cosine_rows(cosine(tmp_path, entries=(2, 3)))
    assert [row[:2] for row in rows] == [["1", "2"], ["1", "5"], ["2", "3"], ["2", "5"]]
    assert all(row[2] == "0.450" for row in rows)


def test_nothing_is_said_without_data(tmp_path: Path) -> None:
    made = folder(tmp_path)
    assert cosine_rows(made) == []
    assert mechanism(made, FACTS) == []


def test_trees_are_told_with_their_control_and_sizes(tmp_path: Path) -> None:
    made = folder(tmp_path)
    line: dict[str, Any] = {"tree": "star", "nodes": 17, "depth": 1, "context": 9}
    line |= {"error": 2.5e-6, "unmasked": 1.25, "range": 20.0}
    line |= {"corner_bytes": 1156, "mask_bytes": 4096, "kv_bytes": 2048}
    made.trees("mini").parent.mkdir(parents=True)
    pd.DataFrame([line]).to_csv(made.trees("mini"), index=False)
    header, row = tree_rows(made, FACTS)
    assert header[:2] == ["tree", "nodes"]
    assert row == ["star", "17", "1", "2.5e-06", "1.2", "20.0", "1.1 KiB", "2.0 KiB"]
    assert mechanism(made, FACTS) == [
        "Tree attention gives what plain forwards of every path give: in 1 known trees no logit is "
        "farther off than 2.5e-06."
    ]
    assert tree_rows(folder(tmp_path / "none"), FACTS) == []


@pytest.mark.parametrize(
    ("needed", "said"),
    [
        (9, "has with 4, 63 drafts, FIRP takes 2, 9. Summaries of the paper say a seventh."),
        (None, "drafts, FIRP takes 2, –; –: more than in any tree here. Summaries of the paper"),
    ],
)
def test_the_paper_s_claim_stands_beside_what_was_found(
    tmp_path: Path, needed: float | None, said: str
) -> None:
    line = {"model": "mini", "method": "firp", "other": "medusa", "other_draft_size": 63}
    line |= {"acceptance_length": 2.0, "draft_size": needed}
    line |= {"times_smaller": None if needed is None else 63 / needed}
    small = {**line, "other_draft_size": 4, "draft_size": 2, "times_smaller": 2}
    made = folder(tmp_path, draft_size_reach=pd.DataFrame([small, line]))
    (found,) = mechanism(made, FACTS)
    assert said in found


def test_a_study_shows_its_own_lines_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trained, "STUDIES", tmp_path)
    lines = [
        {"model": "mini", "studies": "entry seeing", "entry_layers": "[3, 3]", "top1_step1": 0.8},
        {"model": "mini", "studies": "entry", "entry_layers": "[1, 1]", "top1_step1": 0.9},
        {"model": "mini", "studies": "seeing", "entry_layers": "[2, 3]", "top1_step1": 0.7},
    ]
    pd.DataFrame(lines).to_csv(tmp_path / "mini-firp.csv", index=False)
    shown = {"model": "model", "entry_layers": "enter at"}
    rows = study_rows("entry", shown, {"cost": ("step_cost", 2)})
    assert rows == [
        ["model", "enter at", "step 1", "cost"],
        ["mini", "1, 1", "0.900", "–"],
        ["mini", "3, 3", "0.800", "–"],
    ]
    assert study_rows("length", shown, {}) == []
