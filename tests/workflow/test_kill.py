"""SIGKILL in the middle of a session: it resumes at the next prompt and loses no byte."""

import subprocess
import sys
from pathlib import Path

from tests.faults.small import rows, session
from tests.workflow.killing import kill_once_measured, whole_prompts

PROMPTS = 10


def test_a_killed_session_resumes_at_the_next_prompt(tmp_path: Path) -> None:
    journal = tmp_path / ".session-1.jsonl.journal"
    command = [sys.executable, "-m", "harness", *session(tmp_path, count=PROMPTS, cap=40)]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    before = kill_once_measured(process, journal)
    assert not (tmp_path / "session-1.jsonl").exists()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "resuming after" in done.stdout
    whole = whole_prompts(before)
    assert whole
    assert (tmp_path / "session-1.jsonl").read_bytes().startswith(whole)
    found = rows(tmp_path)
    assert len(found) == 2 * PROMPTS
    assert len({(row["prompt_id"], row["arm"]) for row in found}) == 2 * PROMPTS
    assert {row["block"] for row in found} == {0, 1}
