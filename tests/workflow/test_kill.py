"""SIGKILL in the middle of a session: it resumes at the next prompt and loses no byte."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.commands.prompts import Split, freeze_prompts
from harness.commands.stand_in import make_stand_in
from harness.models import ModelSpec
from tests.workflow.test_smoke import ENVIRONMENT, ROOT, SMOKE, finished, snakemake

__all__ = ["finished"]
TARGET = str(ROOT / "workflows/resources/mini-target")
PROMPTS = 10


def journal_rows(journal: Path) -> bytes:
    """Whole rows written so far, the header left out."""
    if not journal.is_file():
        return b""
    _, _, rows = journal.read_bytes().partition(b"\n")
    return rows[: rows.rfind(b"\n") + 1]


def kill_once_measured(process: subprocess.Popen[bytes], journal: Path) -> bytes:
    """SIGKILL the process group as soon as a prompt is in the journal; returns its rows."""
    deadline = time.monotonic() + 120
    while not journal_rows(journal):
        assert process.poll() is None, "the session ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return journal_rows(journal)


@pytest.fixture
def session(tmp_path: Path) -> list[str]:
    """Command of a session of ten prompts, whose inputs lie in ``tmp_path``."""
    make_stand_in("gsm8k", "test", PROMPTS, 0, tmp_path / "questions.jsonl")
    source = {"path": str(tmp_path / "questions.jsonl")}
    split = Split("gsm8k", source, None, 300)
    freeze_prompts(ModelSpec(path=TARGET), split, None, tmp_path / "prompts.jsonl")
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
    whole = _whole_prompts(before)
    assert whole
    assert final.startswith(whole)
    rows = [json.loads(line) for line in final.splitlines()]
    assert len(rows) == 2 * PROMPTS
    assert len({(row["prompt_id"], row["arm"]) for row in rows}) == 2 * PROMPTS
    assert {row["block"] for row in rows} == {0, 1}


def _whole_prompts(rows: bytes) -> bytes:
    """Rows up to the last prompt that is whole: what must survive."""
    lines = rows.splitlines(keepends=True)
    while lines and not json.loads(lines[-1])["last_of_prompt"]:
        lines.pop()
    return b"".join(lines)


def test_snakemake_killed_with_its_session_runs_on(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "project"
    shutil.copytree(finished, folder)
    runs = folder / "results/smoke/runs/mini/mtbench"
    for file in runs.iterdir():
        file.unlink()
    asked = ("results/smoke/runs/mini/mtbench/session-1.jsonl", *SMOKE[1:])
    process = subprocess.Popen(
        [sys.executable, "-m", "snakemake", "--cores", "1", *asked],
        cwd=folder,
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    before = kill_once_measured(process, runs / ".session-1.jsonl.journal")
    assert snakemake(folder, "--unlock", *asked).returncode == 0
    again = snakemake(folder, *asked)
    assert again.returncode == 0, again.stdout[-2000:] + again.stderr[-2000:]
    final = (runs / "session-1.jsonl").read_bytes()
    assert final.startswith(_whole_prompts(before))
