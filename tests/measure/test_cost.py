"""Timing forwards: every cell of the grid, as the loop makes them, and nothing is committed."""

import json
from pathlib import Path

import pandas as pd
import pytest

from harness.__main__ import main
from harness.commands import cost as command
from harness.data.prompts import hash_ids
from harness.engine.target import Target
from harness.measure import cost
from harness.measure.cost import ROWS, VerifyForward, time_forwards
from tests import ROOT
from tests.models import tiny_model

IDS = list(range(1, 41))


def test_each_forward_has_its_rows_behind_its_context(monkeypatch: pytest.MonkeyPatch) -> None:
    target = Target(tiny_model("llama"))
    forward = VerifyForward(target, IDS)
    assert target.arena.length == len(IDS) - 1
    seen = []
    plain = target.forward

    def spy(block, **options):
        seen.append((block.rows, target.arena.length, list(block.layout.positions)))
        return plain(block, **options)

    monkeypatch.setattr(target, "forward", spy)
    before = target.arena.stores[target.device][..., : len(IDS) - 1, :].clone()
    for cell in ((1, 39), (64, 39), (8, 17)):
        assert forward.seconds(cell) > 0
        rows, context = cell
        assert seen[-1] == (rows, context, list(range(rows)))
    assert len(seen) == 6, "each is timed behind another of its kind"
    kept = target.arena.stores[target.device][..., :17, :]
    assert (kept == before[..., :17, :]).all()


def test_the_median_of_repeats_in_an_order_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[cost.Cell] = []

    class Known(VerifyForward):
        def __init__(self) -> None:
            self.slow = 0

        def seconds(self, cell: cost.Cell) -> float:
            calls.append(cell)
            self.slow += 1
            return cell[0] + cell[1] + (100.0 if self.slow % 17 == 0 else 0.0)

    found = time_forwards(Known(), [5, 9], repeats=5)
    assert found == {(rows, context): rows + context for rows in ROWS for context in (5, 9)}
    rounds = [calls[at : at + 14] for at in range(0, len(calls), 14)]
    assert len(rounds) == 6, "the first pays for masks"
    assert len({tuple(order) for order in rounds}) == 6
    assert all(len(set(order)) == 14 for order in rounds)


def test_the_command_writes_every_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "REPEATS", 2)
    prompts, out = tmp_path / "gsm8k.jsonl", tmp_path / "cost/mini.csv"
    fields: dict = dict.fromkeys("question_id category text reference".split(), "x")
    fields |= {"dataset": "gsm8k", "turn": 1}
    texts = (list(range(11)), list(range(21)))
    lines = [
        fields | {"prompt_id": str(len(ids)), "input_ids": ids, "sha256": hash_ids(ids)}
        for ids in texts
    ]
    prompts.write_text("".join(json.dumps(line) + "\n" for line in lines))
    model = json.dumps({"path": str(ROOT / "workflows/resources/mini-target")})
    given = ["--model", model, "--prompts", str(prompts), "--caps", '{"gsm8k": 20}']
    assert main(["--threads", "1", "cost", *given, "--out", str(out)]) == 0
    table = pd.read_csv(out)
    assert list(table) == list(command.COLUMNS)
    assert sorted(zip(table["rows"], table["context"], strict=True)) == [
        (rows, context) for rows in ROWS for context in (10, 20, 30, 40)
    ]
    assert (table["seconds"] > 0).all()
    assert set(table["repeats"]) == {2}
    assert set(table["layers"]) == {6}


def test_contexts_end_where_the_widest_forward_still_fits() -> None:
    target = Target(tiny_model("llama"))
    longest = command._longest(target)
    assert longest == 512 - max(ROWS)
    VerifyForward(target, [1] * (longest + 1)).seconds((max(ROWS), longest))
