"""Shards of a session: every question once, with all turns and arms, in balanced orders."""

import json
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
import torch

from harness.commands.prompts import freeze_prompts
from harness.commands.stand_in import make_stand_in
from harness.data.prompts import Prompt, hash_ids, shard_of
from harness.engine.arena import Arena
from harness.engine.drafter import Drafter, Needs
from harness.engine.loop import EngineDecoder
from harness.engine.target import BUCKET, Target
from harness.errors import HarnessError
from harness.experiment.arms import Arm, parse_arm
from harness.experiment.steps import Freeze, Source, Split
from harness.measure import setup
from harness.measure.audit import audit, finite
from harness.measure.session import Plan, run_session
from harness.measure.setup import SessionFiles, measure_session
from harness.method import Method
from harness.models import ModelSpec
from methods import load_method
from tests import ROOT
from tests.models import tiny_model

ARMS = ("autoregressive", "autoregressive_again", "third", "fourth")


def _prompts(questions: int) -> list[Prompt]:
    """Two turns each, in the order of a prompts file."""
    ids = (3, 9, 27, 20)
    return [
        Prompt(f"mtbench-{q}-{turn}", str(q), "mtbench", "", turn, "", ids, hash_ids(ids), None)
        for q in range(questions)
        for turn in (1, 2)
    ]


def _rows(plan: Plan, file: Path) -> list[dict]:
    run_session(plan, file, {}, lambda rows: None)
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_the_shards_together_hold_every_question_once_with_all_turns_and_arms(
    tmp_path: Path,
) -> None:
    target = Target(tiny_model("llama"))
    prompts, shards = _prompts(8), 2
    rows = []
    for shard in range(1, shards + 1):
        plan = Plan(
            arms=dict.fromkeys(ARMS, EngineDecoder(target, Drafter())),
            prompts=shard_of(prompts, shard, shards),
            warmup=prompts[:1],
            max_new_tokens=2,
            stops=frozenset(),
            device=torch.device("cpu"),
            seed=shard,
            labels={"shard": shard},
            fingerprint="",
            parameters=0,
            detokenise=str,
            audit=partial(audit, target),
            finite=partial(finite, target),
        )
        mine = _rows(plan, tmp_path / f"shard-{shard}.jsonl")
        places = Counter((row["arm"], row["order"]) for row in mine)
        assert set(places.values()) == {2}, "four questions of two turns: one whole square"
        assert len(places) == len(ARMS) ** 2
        rows += mine
    counts = Counter((row["prompt_id"], row["arm"]) for row in rows)
    assert counts == Counter((prompt.prompt_id, arm) for prompt in prompts for arm in ARMS)
    homes = {(row["question_id"], row["shard"]) for row in rows}
    assert len(homes) == 8, "no question is split"


def test_shards_are_even_and_one_shard_is_the_whole_set() -> None:
    prompts = _prompts(7)
    assert shard_of(prompts, 1, 1) == prompts
    assert [len(shard_of(prompts, shard, 3)) for shard in (1, 2, 3)] == [6, 4, 4]


@pytest.mark.parametrize(
    ("shard", "shards", "expected"),
    [
        (1, 0, "shards: 0, expected 1 to 3, a question each"),
        (1, 4, "shards: 4, expected 1 to 3, a question each"),
        (3, 2, "shard: 3, expected 1 to 2"),
        (0, 2, "shard: 0, expected 1 to 2"),
    ],
)
def test_empty_shards_are_refused(shard: int, shards: int, expected: str) -> None:
    with pytest.raises(HarnessError) as caught:
        shard_of(_prompts(3), shard, shards)
    assert str(caught.value) == expected


def _question_file(folder: Path, count: int) -> tuple[ModelSpec, Path]:
    """mini's target, and prompts frozen for it."""
    make_stand_in("gsm8k", "test", count, 0, folder / "questions.jsonl")
    spec = ModelSpec(path=str(ROOT / "workflows/resources/mini-target"))
    split = Split("gsm8k", Source(str(folder / "questions.jsonl")), 300)
    freeze_prompts(spec, Freeze(split, str(folder / "prompts.jsonl")), {})
    return spec, folder / "prompts.jsonl"


class _Wide(Drafter):
    """An arm that may send more rows than are to spare."""

    needs = Needs(max_rows=3 * BUCKET)


@pytest.mark.parametrize("reserved", [True, False])
def test_slots_for_the_widest_arm_are_there_before_the_first_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reserved: bool
) -> None:
    spec, prompts = _question_file(tmp_path, 1)
    wide = Method(lambda target, *_: EngineDecoder(target, _Wide()))
    methods = {"autoregressive": load_method("autoregressive"), "lookahead": wide}
    monkeypatch.setattr(Arm, "method", property(lambda arm: methods[arm.of]))
    arms = {name: parse_arm(name, {}) for name in methods}
    grown = []
    reserve = Arena.reserve

    def watched(self: Arena, slots: int) -> None:
        before = self.capacity
        reserve(self, slots)
        grown.append(self.capacity > before)

    monkeypatch.setattr(Arena, "reserve", watched)
    if not reserved:
        monkeypatch.setattr(setup, "most_rows", lambda _: 0)  # control
    options = {"labels": {"session": 1}, "seed": 0, "max_new_tokens": 2, "warmup": 1}
    (tmp_path / "none" / "lookahead").mkdir(parents=True)
    files = SessionFiles(prompts, prompts, tmp_path / "none", tmp_path / "session-1.jsonl")
    measure_session(spec, arms, files, options)
    # The first is the target's check of itself, the second the session's.
    assert grown[:2] == [True, True]
    assert any(grown[2:]) is not reserved


def test_a_session_measures_the_shard_that_its_labels_name(tmp_path: Path) -> None:
    spec, prompts = _question_file(tmp_path, 3)
    arms = {name: parse_arm(name, {}) for name in ARMS[:2]}
    seen = []
    for shard in (1, 2):
        labels = {"session": 1, "shard": shard, "shards": 2}
        options = {"labels": labels, "seed": shard, "max_new_tokens": 2, "warmup": 1}
        out = tmp_path / f"session-1/shard-{shard}.jsonl"
        files = SessionFiles(prompts, prompts, tmp_path / "none", out)
        measure_session(spec, arms, files, options)
        assert out.with_suffix(".provenance.json").is_file()
        rows = [json.loads(line) for line in out.read_text().splitlines()]
        assert {(row["shard"], row["shards"]) for row in rows} == {(shard, 2)}
        seen.append({row["question_id"] for row in rows})
    assert [len(questions) for questions in seen] == [2, 1]
    assert len(set.union(*seen)) == 3
