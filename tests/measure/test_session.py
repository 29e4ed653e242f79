"""Sessions: balanced orders, rows of every arm, and an audit that tells a bug from rounding."""

import itertools
import json
import math
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch

from harness.data.prompts import Prompt, hash_ids
from harness.decoder import Decoder, Request, StepRecord
from harness.engine.audit import audit, finite
from harness.engine.drafter import Drafter
from harness.engine.loop import EngineDecoder
from harness.engine.target import Target
from harness.measure.session import Plan, balanced_orders, run_session
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


def test_rows_of_every_arm_and_the_logit_gap_where_one_leaves_the_baseline(tmp_path: Path) -> None:
    target = Target(tiny_model("llama"))
    plain = EngineDecoder(target, Drafter())
    ids = (3, 9, 27, 20)
    prompts = [
        Prompt(f"gsm8k-{q}-1", str(q), "gsm8k", "math", 1, "", ids[: 2 + q], hash_ids(ids), None)
        for q in range(3)
    ]
    plan = Plan(
        arms={"autoregressive": plain, "again": plain, "faulty": Faulty(plain, "change")},
        prompts=prompts,
        warmup=prompts[:1],
        max_new_tokens=8,
        stops=frozenset(),
        device=torch.device("cpu"),
        seed=0,
        labels={"session": 1},
        parameters=0,
        detokenise=str,
        audit=partial(audit, target),
        finite=partial(finite, target),
    )
    called: list[list[dict]] = []
    run_session(plan, tmp_path / "session-1.jsonl", {}, called.append)
    rows = [json.loads(line) for line in (tmp_path / "session-1.jsonl").read_text().splitlines()]
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
