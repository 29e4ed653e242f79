"""Two sessions that would write one file: the second is told so and changes nothing."""

import fcntl
from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.measure.journal import Journal
from tests.faults.small import refused, session

HEADER = {"config": "a"}
SAID = "{}: another session is writing it; expected one"


def test_the_second_session_ends_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "session-1.jsonl"
    with Journal(out, HEADER):
        before = (tmp_path / ".session-1.jsonl.journal").read_bytes()
        assert refused(capsys, session(tmp_path)) == SAID.format(out)
        assert (tmp_path / ".session-1.jsonl.journal").read_bytes() == before


def test_a_session_that_finished_while_another_opened_its_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, flock = tmp_path / "session-1.jsonl", fcntl.flock

    def late(stream: object, how: int) -> None:
        (tmp_path / ".session-1.jsonl.journal").unlink()
        flock(stream, how)  # type: ignore[arg-type]

    monkeypatch.setattr(fcntl, "flock", late)
    with pytest.raises(HarnessError, match="another session is writing it"):
        Journal(out, HEADER).__enter__()


def test_a_journal_killed_within_its_first_line_begins_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "session-1.jsonl"
    journal = tmp_path / ".session-1.jsonl.journal"
    with Journal(out, HEADER):
        whole = journal.read_bytes()
    journal.write_bytes(whole[:5])
    with Journal(out, HEADER):
        assert journal.read_bytes() == whole
    assert list(tmp_path.iterdir()) == [journal], "nothing was set aside"
    assert capsys.readouterr().out == ""
