"""Shards of a session: every question once, with all turns and arms, in balanced orders."""

import json
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
import torch

from harness.commands.prompts import Split, freeze_prompts
from harness.commands.session import SessionFiles, measure_session
from harness.commands.stand_in import make_stand_in
from harness.data.prompts import Prompt, hash_ids, shard_of
from harness.engine.audit import audit, finite
from harness.engine.drafter import Drafter
from harness.engine.loop import EngineDecoder
from harness.engine.target import Target
from harness.errors import HarnessError
from harness.measure.session import Plan, run_session
from harness.models import ModelSpec
from methods import load_method
from tests.models import tiny_model
from tests.workflow.test_smoke import ROOT

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


def test_a_session_measures_the_shard_that_its_labels_name(tmp_path: Path) -> None:
    make_stand_in("gsm8k", "test", 3, 0, tmp_path / "questions.jsonl")
    spec = ModelSpec(path=str(ROOT / "workflows/resources/mini-target"))
    prompts = tmp_path / "prompts.jsonl"
    split = Split("gsm8k", {"path": str(tmp_path / "questions.jsonl")}, None, 300)
    freeze_prompts(spec, split, None, prompts)
    arms = {name: (load_method(name), {}) for name in ARMS[:2]}
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
