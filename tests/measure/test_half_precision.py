"""In bfloat16 arms leave the baseline by rounding; the audit tells that from a wrong token."""

import copy
import json
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
import torch

from harness.analysis.divergences import divergences
from harness.data.prompts import Prompt, hash_ids
from harness.decoder import Decoder
from harness.engine.drafter import Drafter
from harness.engine.loop import EngineDecoder
from harness.engine.target import Target
from harness.measure.audit import audit, finite
from harness.measure.session import Plan, run_session
from tests.methods.drafters import ENGINE_METHODS, drafter
from tests.models import VOCAB, tiny_model


def _prompts() -> list[Prompt]:
    found = []
    for question in range(5):
        ids = tuple((11 * (i % 7) + 3 + 5 * question) % VOCAB for i in range(17))
        name = f"gsm8k-{question}-1"
        found.append(Prompt(name, str(question), "gsm8k", "math", 1, "", ids, hash_ids(ids), None))
    return found


def _differing(folder: Path, dtype: torch.dtype) -> pd.DataFrame:
    """The divergences of a session of every method on a target of that precision."""
    target = Target(copy.deepcopy(tiny_model("llama")).to(dtype))
    arms: dict[str, Decoder] = {"autoregressive": EngineDecoder(target, Drafter())}
    arms |= {name: EngineDecoder(target, drafter(name, target)) for name in ENGINE_METHODS}
    plan = Plan(
        arms=arms,
        prompts=_prompts(),
        warmup=[],
        max_new_tokens=40,
        stops=frozenset(),
        device=torch.device("cpu"),
        seed=0,
        labels={"model": "m", "dataset": "gsm8k", "session": 1},
        fingerprint="",
        parameters=0,
        detokenise=str,
        audit=partial(audit, target),
        finite=partial(finite, target),
    )
    file = folder / "session-1.jsonl"
    run_session(plan, file, {}, lambda rows: None)
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    return divergences(pd.DataFrame(rows))


def test_no_answer_differs_in_float32(tmp_path: Path) -> None:
    assert _differing(tmp_path, torch.float32).empty


def test_rounding_is_the_cause_of_every_difference(tmp_path: Path) -> None:
    found = _differing(tmp_path, torch.bfloat16)
    assert len(found) > 3, "a target that never rounds differently would prove nothing"
    assert set(found["cause"]) <= {"numerical", "exact tie"}
    assert (found["baseline_gap"] <= 2 * found["rounding"]).all(), "none was sure of its token"
    assert (found["arm_gap"] <= 2 * found["rounding"]).all()
    assert found["own_width"].any(), "width alone moved some of them"


def test_control_siblings_that_see_each_other_are_no_rounding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "harness.engine.tree._ancestors",
        lambda parents: torch.ones(len(parents), len(parents), dtype=torch.bool).tril(),
    )
    found = _differing(tmp_path, torch.bfloat16)
    bugs = found[found["cause"] == "METHOD BUG"]
    assert {"firp", "medusa"} <= set(bugs["arm"])
