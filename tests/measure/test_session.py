"""Sessions: balanced orders, rows of every arm, and an audit that tells a bug from rounding."""

import itertools
import json
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from harness.data.prompts import Prompt, hash_ids
from harness.decoder import Decoder, Request, Sampling, StepRecord, collect
from harness.engine.drafter import Drafter
from harness.engine.loop import EngineDecoder
from harness.engine.target import Target
from harness.errors import HarnessError
from harness.measure import session
from harness.measure.audit import audit, finite
from harness.measure.session import Plan, balanced_orders, run_session
from harness.measure.setup import _check_context
from methods.self_speculative.drafter import ExitRule, SkipDrafter, kept
from tests.models import VOCAB, tiny_model


def test_every_arm_stands_equally_often_at_every_place() -> None:
    for arms in (["a", "b", "c", "d"], ["a", "b", "c"], ["a", "b", "c", "d", "e", "f"]):
        orders = list(itertools.islice(balanced_orders(arms, seed=1), 6 * len(arms)))
        places = Counter((place, arm) for order in orders for place, arm in enumerate(order))
        assert set(places.values()) == {6}
        if len(arms) % 2 == 0:
            pairs = Counter(pair for order in orders for pair in itertools.pairwise(order))
            assert len(pairs) == len(arms) * (len(arms) - 1)
    assert list(itertools.islice(balanced_orders("abcd", 1), 9)) != list(
        itertools.islice(balanced_orders("abcd", 2), 9)
    )


class Faulty(Decoder):
    """Autoregressive, but it changes one token or leaves the last one out."""

    def __init__(self, engine: EngineDecoder, fault: str) -> None:
        self._engine, self._fault = engine, fault

    def steps(self, request: Request) -> Iterator[StepRecord]:
        for index, record in enumerate(self._engine.steps(request)):
            token = record.tokens[0]
            if self._fault == "change" and index == 3:
                token = (token + 1) % VOCAB
            yield StepRecord((token,))


def _plan(target: Target, arms: dict[str, Decoder], max_new_tokens: int = 8) -> Plan:
    ids = (3, 9, 27, 20)
    prompts = [
        Prompt(f"gsm8k-{q}-1", str(q), "gsm8k", "math", 1, "", ids[: 2 + q], hash_ids(ids), None)
        for q in range(3)
    ]
    return Plan(
        arms=arms,
        prompts=prompts,
        warmup=prompts[:1],
        max_new_tokens=max_new_tokens,
        stops=frozenset(),
        device=torch.device("cpu"),
        seed=0,
        labels={"session": 1},
        fingerprint="",
        parameters=0,
        detokenise=str,
        audit=partial(audit, target),
        finite=partial(finite, target),
    )


def _rows(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_rows_of_every_arm_and_the_logit_gap_where_one_leaves_the_baseline(tmp_path: Path) -> None:
    target = Target(tiny_model("llama"))
    plain = EngineDecoder(target, Drafter())
    arms = {"autoregressive": plain, "again": plain, "faulty": Faulty(plain, "change")}
    plan = _plan(target, arms)
    called: list[list[dict]] = []
    run_session(plan, tmp_path / "session-1.jsonl", {}, called.append)
    rows = _rows(tmp_path / "session-1.jsonl")
    assert called == [rows]
    assert Counter(row["arm"] for row in rows) == {"autoregressive": 3, "again": 3, "faulty": 3}
    for row in rows:
        if row["arm"] != "faulty":
            assert row["divergence"] is None
            continue
        assert row["divergence"]["index"] == 3
        assert math.isfinite(row["divergence"]["margin"])
        assert row["divergence"]["margin"] > 1e-3, "the target's own token beats the changed one"
        assert 0 < row["divergence"]["baseline_gap"] <= row["divergence"]["margin"] + 1e-4
        assert row["divergence"]["arm_gap"] is None, "no decoder of the engine"


def test_drawn_tokens_are_the_same_for_all_arms_and_others_for_each_prompt(tmp_path: Path) -> None:
    target, sampling = Target(tiny_model("llama")), Sampling(1.3, seed=2)
    drafter = SkipDrafter(target, kept(4, [(1, "attention")]), ExitRule(3, 0.1))
    arms = {
        "autoregressive": EngineDecoder(target, Drafter()),
        "skip": EngineDecoder(target, drafter),
    }
    plan = replace(_plan(target, arms), sampling=sampling)
    run_session(plan, tmp_path / "session-1.jsonl", {}, lambda _: None)
    rows = _rows(tmp_path / "session-1.jsonl")
    assert all(row["divergence"] is None for row in rows)
    for prompt in plan.prompts:
        own = Request(prompt.input_ids, 8, frozenset(), sampling.of(prompt.sha256))
        said, _ = collect(arms["autoregressive"], own)
        assert [row["output_ids"] for row in rows if row["prompt_id"] == prompt.prompt_id] == [
            said,
            said,
        ]
        greedy, _ = collect(arms["autoregressive"], replace(own, sampling=Sampling()))
        assert greedy != said, "control"


class Dying(Decoder):
    """Autoregressive; it fails from its ``last`` answer on."""

    def __init__(self, engine: EngineDecoder, last: int) -> None:
        self._engine, self._left = engine, last

    def steps(self, request: Request) -> Iterator[StepRecord]:
        self._left -= 1
        if self._left <= 0:
            raise HarnessError("dead")
        return self._engine.steps(request)


class Greedy(Decoder):
    """Autoregressive, and refused memory at its third answer."""

    def __init__(self, engine: EngineDecoder) -> None:
        self._engine, self._given = engine, 0

    def steps(self, request: Request) -> Iterator[StepRecord]:
        self._given += 1
        if self._given == 3:
            raise torch.OutOfMemoryError
        return self._engine.steps(request)


def _drafted(target: Target, out: Path, last: int, *, greedy: bool = False) -> list[list[int]]:
    """Draft sizes of an arm whose threshold falls from prompt to prompt: all drafts are right."""
    rule = ExitRule(longest=6, threshold=1.0, carried=True, step=0.08, threshold_memory=0.5)
    skip = EngineDecoder(target, SkipDrafter(target, kept(len(target.layers), ()), rule))
    plain = EngineDecoder(target, Drafter())
    arms: dict[str, Decoder] = {"autoregressive": Dying(plain, last), "skip": skip}
    if greedy:
        arms["greedy"] = Greedy(plain)
    run_session(_plan(target, arms, 24), out, {}, lambda _: None)
    return [row["step_draft_size"] for row in _rows(out) if row["arm"] == "skip"]


def _resumed(target: Target, out: Path) -> list[list[int]]:
    """The same where the session dies at its third prompt and is started again."""
    with pytest.raises(HarnessError, match="dead"):
        _drafted(target, out, last=4)
    return _drafted(target, out, last=99)


def test_a_resumed_session_goes_on_with_what_arms_carry_from_prompt_to_prompt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    target = Target(tiny_model("llama"))
    whole = _drafted(target, tmp_path / "whole.jsonl", last=99)
    assert _resumed(target, tmp_path / "resumed.jsonl") == whole
    assert "resuming after 2 prompts" in capsys.readouterr().out
    monkeypatch.setattr(session, "_relive", lambda *_: None)
    control = _resumed(target, tmp_path / "control.jsonl")
    assert control[:2] == whole[:2]
    assert control[2] != whole[2], "control: nothing is carried to the resumed session"


def test_turns_that_are_taken_again_teach_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = Target(tiny_model("llama"))
    alone = _drafted(target, tmp_path / "alone.jsonl", last=99)
    assert _drafted(target, tmp_path / "beside.jsonl", last=99, greedy=True) == alone
    failed = [row["arm"] for row in _rows(tmp_path / "beside.jsonl") if "failure" in row]
    assert failed == ["greedy"]
    monkeypatch.setattr(SkipDrafter, "begin", Drafter.begin)
    control = _drafted(target, tmp_path / "control.jsonl", last=99, greedy=True)
    assert control != alone, "control: every run moves the threshold"


def test_drafts_beyond_the_model_s_context_are_refused_before_anything_is_measured() -> None:
    target: Any = SimpleNamespace(config=SimpleNamespace(max_position_embeddings=100))
    arms: Any = {"plain": SimpleNamespace(beyond=0), "package": SimpleNamespace(beyond=8)}
    _check_context(target, 92, arms)
    with pytest.raises(HarnessError, match="95 tokens, and 8 drafts of 'package', expected at mos"):
        _check_context(target, 95, arms)
    with pytest.raises(HarnessError, match="answer: 101 tokens, expected at most"):
        _check_context(target, 101, {"plain": arms["plain"]})
