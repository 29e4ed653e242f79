"""The smallest whole experiment: a session of two arms on a tiny target, then its tables.

Its drafter knows the answers, so that most steps accept several drafts.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from harness.analysis.tables import write_tables
from harness.data.prompts import Prompt, hash_ids, write_prompts
from harness.decoder import Request, collect
from harness.engine.drafter import Context, Drafter, Needs
from harness.engine.loop import EngineDecoder
from harness.engine.target import Target
from harness.engine.tree import Tree, TreeShape
from harness.errors import HarnessError
from harness.files import write_json
from harness.measure.audit import audit, finite
from harness.measure.session import Plan, run_session
from tests.models import VOCAB, tiny_model

CAP, QUESTIONS = 20, 4  # the cap cuts a step short
PLACE = {"model": "tiny", "dataset": "gsm8k"}
# Four nodes follow the root, two the last of these; each of the two has a child.
BUSHY = TreeShape((-1, 0, 0, 0, 0, 4, 4, 5, 6))
Row = dict[str, Any]


@lru_cache
def target() -> Target:
    return Target(tiny_model("llama"))


def prompt(question: int) -> Prompt:
    ids = tuple((11 * i + 5 * question + 3) % VOCAB for i in range(9))
    name = f"gsm8k-{question}-1"
    return Prompt(name, str(question), "gsm8k", "math", 1, "", ids, hash_ids(ids), "#### 7")


@lru_cache
def truth(ids: tuple[int, ...]) -> list[int]:
    """The target's own continuation, longer than any answer."""
    # A target of its own: this is asked for in the middle of another decoding.
    own = EngineDecoder(Target(tiny_model("llama")), Drafter())
    return collect(own, Request(ids, CAP + 10, frozenset()))[0]


def stops() -> frozenset[int]:
    """One token: it ends the second answer in the middle of a step, and no other answer."""
    return frozenset({truth(prompt(1).input_ids)[9]})


class Knowing(Drafter):
    """Knows the answers: steps that accept nodes 4, 5 and 7 and steps of 4 and 6, in turn."""

    needs = Needs(max_rows=len(BUSHY))

    def begin(self, context: Context) -> None:
        self._all = [*context.tokens, *truth(tuple(context.tokens))]
        self._deep = False

    def draft(self, context: Context) -> Tree:
        at, self._deep = len(context.tokens), not self._deep
        first, second, third = self._all[at : at + 3]
        wrong = [(first + 7 * i) % VOCAB for i in (1, 2, 3)]
        pair = [second, (second + 1) % VOCAB]
        pair, last = (pair, third) if self._deep else (pair[::-1], (third + 1) % VOCAB)
        return Tree(BUSHY, [context.root, *wrong, first, *pair, last, last])


@dataclass
class Lab:
    """What a bug may change before the experiment runs."""

    fast: EngineDecoder = field(default_factory=lambda: EngineDecoder(target(), Knowing()))
    cap: int = CAP
    asked: list[Prompt] = field(default_factory=lambda: [prompt(q) for q in range(QUESTIONS)])
    change: Callable[[Row], None] = lambda row: None  # of each row of the fast arm


def run(lab: Lab, root: Path) -> dict[str, str]:
    """What caught something: guard -> what it said. Guards that raise go by their function."""
    try:
        _measure(lab, root)
    except HarnessError as error:
        return _raised(error)
    try:
        write_tables(_experiment(), root)
    except HarnessError as error:
        return _raised(error) | _audit(root, str(error)) | _unfair(root)
    return _audit(root, "") | _unfair(root)


def _measure(lab: Lab, root: Path) -> None:
    frozen = [prompt(q) for q in range(QUESTIONS)]
    write_prompts(root / "prompts/tiny/gsm8k.jsonl", frozen, 0)
    plan = Plan(
        arms={"autoregressive": EngineDecoder(target(), Drafter()), "fast": lab.fast},
        prompts=lab.asked,
        warmup=(),
        max_new_tokens=lab.cap,
        stops=stops(),
        device=torch.device("cpu"),
        seed=0,
        labels={**PLACE, "session": 1},
        fingerprint="one machine",
        parameters=1,
        detokenise=str,
        audit=partial(audit, target()),
        finite=partial(finite, target()),
    )
    out = root / "runs/tiny/gsm8k/session-1.jsonl"
    run_session(plan, out, {}, lambda rows: None)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    for row in rows:
        row["device_state"] = {}  # how busy this machine is right now is no bug
        if row["arm"] == "fast":
            lab.change(row)
    out.write_text("".join(json.dumps(row) + "\n" for row in rows))
    same = dict.fromkeys(("commit", "sources", "machine", "packages"), "x")
    arms: dict[str, Any] = {"lossless": True, "reference": False, "extra_bytes": 0}
    arms |= {"trained": False, "tuned": False}
    by_arm = {key: dict.fromkeys(plan.arms, value) for key, value in arms.items()}
    facts = {**same, "dtype": "float32", "parameters": 1, "uses": {}, **by_arm}
    write_json(out.with_suffix(".provenance.json"), facts)


def _experiment() -> dict[str, Any]:
    return {
        "experiment": "lab",
        "dtype": "float32",
        "sessions": 1,
        "models": ["tiny"],
        "datasets": {"gsm8k": {"max_new_tokens": CAP}},
        "warmup": 1,
        "methods": ["autoregressive", "fast"],
        "draft_sizes": {"methods": []},
    }


def _raised(error: HarnessError) -> dict[str, str]:
    frame = error.__traceback__
    assert frame is not None
    while frame.tb_next is not None:
        frame = frame.tb_next
    return {frame.tb_frame.f_code.co_qualname: str(error)}


def _audit(root: Path, said: str) -> dict[str, str]:
    """Causes of answers that differ from the baseline's."""
    listed = root / "tables/divergences.csv"
    return dict.fromkeys(pd.read_csv(listed)["cause"], said) if listed.exists() else {}


def _unfair(root: Path) -> dict[str, str]:
    """Checks of fairness that do not hold."""
    facts = root / "tables/facts.json"
    checks = json.loads(facts.read_text())["checklist"] if facts.exists() else []
    return {check["what"]: check["detail"] for check in checks if check["holds"] is False}
