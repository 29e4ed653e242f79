"""SIGKILL in the middle of a session: it resumes at the next prompt and loses no byte."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from harness.commands.prompts import freeze_prompts
from harness.commands.stand_in import make_stand_in
from harness.experiment.steps import Source, Split
from harness.models import ModelSpec
from tests.workflow.killing import kill_once_measured, whole_prompts

TARGET = str(Path(__file__).parents[2] / "workflows/resources/mini-target")
PROMPTS = 10


@pytest.fixture
def session(tmp_path: Path) -> list[str]:
    """Command of a session of ten prompts, whose inputs lie in ``tmp_path``."""
    make_stand_in("gsm8k", "test", PROMPTS, 0, tmp_path / "questions.jsonl")
    source = {"path": str(tmp_path / "questions.jsonl")}
    split = Split("gsm8k", Source(**source), 300)
    freeze_prompts(ModelSpec(path=TARGET), split, {}, tmp_path / "prompts.jsonl")
    labels = {"experiment": "x", "model": "mini", "dataset": "gsm8k", "session": 1}
    options = {"labels": labels, "seed": 1, "max_new_tokens": 40, "warmup": 1}
    arms = {"autoregressive": {}, "autoregressive_again": {}}
    return [
        *(sys.executable, "-m", "harness", "--threads", "1", "session"),
        *("--model", json.dumps({"path": TARGET}), "--methods", json.dumps(arms)),
        *("--options", json.dumps(options), "--prompts", str(tmp_path / "prompts.jsonl")),
        *("--warmup", str(tmp_path / "prompts.jsonl"), "--folders", str(tmp_path / "none")),
        *("--out", str(tmp_path / "session-1.jsonl")),
    ]


def test_a_killed_session_resumes_at_the_next_prompt(tmp_path: Path, session: list[str]) -> None:
    journal = tmp_path / ".session-1.jsonl.journal"
    process = subprocess.Popen(
        session, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    before = kill_once_measured(process, journal)
    assert not (tmp_path / "session-1.jsonl").exists()
    done = subprocess.run(session, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "resuming after" in done.stdout
    final = (tmp_path / "session-1.jsonl").read_bytes()
    whole = whole_prompts(before)
    assert whole
    assert final.startswith(whole)
    rows = [json.loads(line) for line in final.splitlines()]
    assert len(rows) == 2 * PROMPTS
    assert len({(row["prompt_id"], row["arm"]) for row in rows}) == 2 * PROMPTS
    assert {row["block"] for row in rows} == {0, 1}
