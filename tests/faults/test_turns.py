"""What goes wrong in an arm's turn: memory, other errors, logits that are no numbers."""

import dataclasses
import json
import math
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from harness.analysis.tables import write_tables
from harness.data.prompts import write_prompts
from harness.decoder import Decoder, Request, StepRecord
from harness.engine.drafter import Drafter
from harness.engine.loop import EngineDecoder
from harness.engine.target import Target
from harness.errors import HarnessError, out_of_memory
from harness.files import write_json
from harness.measure.audit import audit, finite
from harness.measure.session import Plan, run_session
from harness.presentation.explain import named, speed_rows
from harness.presentation.main_table import figures
from harness.presentation.verdicts import verdicts
from tests import lab
from tests.lab import CAP, PLACE, QUESTIONS, prompt
from tests.models import tiny_model

Fault = Callable[[], object]


class Failing(Decoder):
    """Autoregressive, until a fault comes in the middle of an answer to one prompt."""

    def __init__(self, fault: Fault, at: tuple[int, ...], engine: EngineDecoder) -> None:
        self._fault, self._at, self._engine = fault, at, engine
        self.asked: list[tuple[int, ...]] = []

    def steps(self, request: Request) -> Iterator[StepRecord]:
        self.asked.append(request.prompt_ids)
        for index, record in enumerate(self._engine.steps(request)):
            if index == 3 and request.prompt_ids == self._at:
                self._fault()
            yield record


def raising(error: Exception) -> Fault:
    def fault() -> None:
        raise error

    return fault


def plan(arms: dict[str, Decoder], target: Target, session: int = 1, warmup: int = 0) -> Plan:
    return Plan(
        arms=arms,
        prompts=[prompt(q) for q in range(QUESTIONS)],
        warmup=[prompt(0)][:warmup],
        max_new_tokens=CAP,
        stops=lab.stops(),
        device=torch.device("cpu"),
        seed=0,
        labels={**PLACE, "session": session},
        fingerprint="one machine",
        parameters=1,
        detokenise=str,
        audit=partial(audit, target),
        finite=partial(finite, target),
    )


def rows(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def arms(fault: Fault, at: int) -> dict[str, Decoder]:
    engine = EngineDecoder(lab.target(), Drafter())
    failing = Failing(fault, prompt(at).input_ids, engine)
    return {"autoregressive": engine, "failing": failing, "other": engine}


CUDA = "CUDA out of memory. Tried to allocate 20.00 GiB.\nGPU 0 has a total capacity of 9 GiB"
REFUSALS: dict[str, Fault] = {
    "a device": raising(torch.OutOfMemoryError(CUDA)),
    "torch's CPU allocator": lambda: torch.empty(2**52),
    "Python": lambda: bytearray(2**60),
}


@pytest.mark.parametrize("fault", REFUSALS.values(), ids=REFUSALS)
def test_an_arm_without_memory_fails_alone(tmp_path: Path, fault: Fault) -> None:
    out = tmp_path / "session-1.jsonl"
    running = arms(fault, at=2)
    run_session(plan(running, lab.target(), warmup=1), out, {}, lambda rows: None)
    found = rows(out)
    (failure,) = (row for row in found if "failure" in row)
    assert failure["arm"] == "failing"
    assert failure["failure"] == "out of memory"
    assert failure["failed_at"] == failure["prompt_id"] == "gsm8k-2-1"
    assert len(failure["error"].splitlines()) == 1
    measured = [row for row in found if "failure" not in row]
    by_arm = {a: [r["question_id"] for r in measured if r["arm"] == a] for a in running}
    assert by_arm == {"autoregressive": [*"0123"], "failing": [*"01"], "other": [*"0123"]}
    assert [row["order"] for row in measured if row["question_id"] == "3"] == [0, 1]
    assert sum(row["last_of_prompt"] for row in found) == QUESTIONS


def test_the_others_are_warmed_up_again(tmp_path: Path) -> None:
    engine = EngineDecoder(lab.target(), Drafter())
    counting = Failing(lambda: None, (), engine)
    running = {**arms(REFUSALS["Python"], at=2), "other": counting}
    run_session(plan(running, lab.target(), warmup=1), tmp_path / "x.jsonl", {}, lambda rows: None)
    asked = [prompt(q).input_ids for q in range(QUESTIONS)]
    first, third = asked[0], asked[2]
    assert counting.asked[:3] == [first, asked[0], asked[1]]
    assert counting.asked[-3:] == [first, third, asked[3]]


def test_a_session_resumed_after_a_failure_goes_on_without_the_arm(tmp_path: Path) -> None:
    out, running = tmp_path / "session-1.jsonl", arms(REFUSALS["Python"], at=0)
    late = Failing(raising(KeyboardInterrupt()), prompt(2).input_ids, running["other"])  # type: ignore[arg-type]
    with pytest.raises(KeyboardInterrupt):
        broken = plan({**running, "other": late}, lab.target())
        run_session(broken, out, {}, lambda rows: None)
    again = arms(lambda: None, at=0)
    run_session(plan(again, lab.target()), out, {}, lambda rows: None)
    found = rows(out)
    assert [row["arm"] for row in found if "failure" in row] == ["failing"]
    assert not [row for row in found if row["arm"] == "failing" and "failure" not in row]


def test_without_the_baseline_nothing_can_be_compared(tmp_path: Path) -> None:
    failing = Failing(
        REFUSALS["Python"], prompt(1).input_ids, EngineDecoder(lab.target(), Drafter())
    )
    with pytest.raises(HarnessError, match=r"autoregressive, prompt gsm8k-1-1: out of memory .*;"):
        run_session(
            plan({"autoregressive": failing}, lab.target()), tmp_path / "x", {}, lambda rows: None
        )


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (IndexError("no row 7\nmore"), r"IndexError in test_turns.py line \d+: no row 7"),
        (HarnessError("no such tree"), "no such tree"),
        (RuntimeError(), r"RuntimeError in test_turns.py line \d+: RuntimeError"),
    ],
)
def test_any_other_error_ends_the_session_and_keeps_its_rows(
    tmp_path: Path, error: Exception, said: str
) -> None:
    out = tmp_path / "session-1.jsonl"
    with pytest.raises(HarnessError, match=rf"^failing, prompt gsm8k-2-1: {said}$"):
        run_session(plan(arms(raising(error), at=2), lab.target()), out, {}, lambda rows: None)
    kept = (tmp_path / ".session-1.jsonl.journal").read_text().splitlines()[1:]
    assert len(kept) == 2 * 3
    run_session(plan(arms(lambda: None, at=2), lab.target()), out, {}, lambda rows: None)
    assert [json.loads(line) for line in kept] == rows(out)[: len(kept)]
    assert len(rows(out)) == QUESTIONS * 3


def test_what_is_no_lack_of_memory() -> None:
    assert not out_of_memory(RuntimeError("shapes do not fit"))
    assert not out_of_memory(HarnessError("not enough memory of what was said"))


TOKEN = 57


def poisoned(value: float) -> Target:
    """A target whose logits are no numbers behind one token."""
    model = tiny_model("llama").__class__(tiny_model("llama").config)
    model.load_state_dict(tiny_model("llama").state_dict())
    target = Target(model.eval())
    with torch.no_grad():
        model.model.embed_tokens.weight[TOKEN] = value
    return target


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_logits_that_are_no_numbers_are_told(tmp_path: Path, value: float) -> None:
    asked, target = prompt(2), poisoned(value)
    assert TOKEN in asked.input_ids
    engine = EngineDecoder(target, Drafter())
    said = (
        "^autoregressive, prompt gsm8k-2-1: the target's logits for the answer are NaN or "
        "infinite, expected numbers$"
    )
    poisonous = dataclasses.replace(
        plan({"again": engine, "autoregressive": engine}, target), prompts=[asked]
    )
    with pytest.raises(HarnessError, match=said):
        run_session(poisonous, tmp_path / "x.jsonl", {}, lambda rows: None)


def test_a_target_that_says_no_numbers_at_all_is_refused() -> None:
    model = tiny_model("llama").__class__(tiny_model("llama").config)
    with torch.no_grad():
        model.lm_head.weight[5] = math.nan
    with pytest.raises(HarnessError, match="model type 'llama': its logits are NaN or infinite"):
        Target(model.eval())


def test_a_bad_logit_within_an_answer() -> None:
    target = poisoned(math.nan)
    assert finite(target, [10, 11, 12], [13, 14, 15])
    assert not finite(target, [10, 11, 12], [13, TOKEN, 15])
    assert finite(target, [10, 11, 12], [13, TOKEN]), "nothing follows it"


def experiment(root: Path, at: int | None) -> dict[str, Any]:
    """Two sessions; in the second, an arm fails at a prompt."""
    write_prompts(
        root / "prompts/tiny/gsm8k.jsonl", [prompt(question) for question in range(QUESTIONS)], 0
    )
    names = ["autoregressive", "failing", "other"]
    for session in (1, 2):
        fails = session == 2 and at is not None
        running = arms(REFUSALS["a device"] if fails else lambda: None, at or 0)
        out = root / f"runs/tiny/gsm8k/session-{session}.jsonl"
        run_session(plan(running, lab.target(), session), out, {}, lambda rows: None)
        same = dict.fromkeys(("commit", "sources", "machine", "packages"), "x")
        kinds: dict[str, Any] = {"lossless": True, "reference": False, "extra_bytes": 0}
        kinds |= {"trained": False, "tuned": False}
        by_arm = {key: dict.fromkeys(names, value) for key, value in kinds.items()}
        facts = {**same, "dtype": "float32", "parameters": 1, "uses": {}, **by_arm}
        write_json(out.with_suffix(".provenance.json"), facts)
    return {
        "experiment": "lab",
        "dtype": "float32",
        "sessions": 2,
        "models": ["tiny"],
        "datasets": {"gsm8k": {"max_new_tokens": CAP}},
        "warmup": 1,
        "methods": names,
        "draft_sizes": {"methods": []},
    }


def test_tables_and_report_say_which_arm_failed(tmp_path: Path) -> None:
    write_tables(experiment(tmp_path, at=2), tmp_path)
    tables = tmp_path / "tables"
    summary = pd.read_csv(tables / "summary.csv").set_index("method")
    assert summary.loc["failing", "failure"] == "out of memory"
    assert (
        summary.loc["failing", ["speedup", "tokens", "acceptance_length", "rank_best"]].isna().all()
    )
    others = summary.drop("failing")
    assert others["failure"].isna().all()
    assert others[["speedup", "tokens", "acceptance_length"]].notna().all(axis=None)
    for name in ("speedup", "acceptance_length", "draft_size", "rouge2"):
        told = pd.read_csv(tables / f"{name}.csv").set_index("method")["tiny/gsm8k"]
        assert told["failing"] == "failed: out of memory"
    facts = json.loads((tables / "facts.json").read_text())
    facts["looping"] = {"tiny/gsm8k": False}
    assert verdicts(facts)[0] == (
        "failing FAILED on tiny/gsm8k: out of memory, first in session 2, prompt gsm8k-2-1; no "
        "figures of it are shown there."
    )
    table = summary.reset_index().assign(draft_share=math.nan)
    shown = {name: figures("gsm8k", line) for name, line in named(table)}
    assert shown["failing, failed: out of memory"][:4] == ["–"] * 4
    assert "failing, failed: out of memory" in [row[0] for row in speed_rows(table)]


def test_control_without_a_failure_no_table_speaks_of_one(tmp_path: Path) -> None:
    write_tables(experiment(tmp_path, at=None), tmp_path)
    summary = pd.read_csv(tmp_path / "tables/summary.csv")
    assert list(summary["method"]) == ["autoregressive", "failing", "other"]
    assert summary["failure"].isna().all()
    facts = json.loads((tmp_path / "tables/facts.json").read_text())
    assert facts["failures"] == []
    assert not any("FAILED on" in line for line in verdicts(facts))
