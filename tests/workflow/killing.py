"""Killing a process once its session has measured a prompt, and what must survive that."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path


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


def whole_prompts(rows: bytes) -> bytes:
    """Rows up to the last prompt that is whole: what must survive."""
    lines = rows.splitlines(keepends=True)
    while lines and not json.loads(lines[-1])["last_of_prompt"]:
        lines.pop()
    return b"".join(lines)
