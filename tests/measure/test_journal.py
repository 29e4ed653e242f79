"""A journal keeps what was measured, whatever kills the session."""

import json
from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.measure.journal import Journal

HEADER = {"config": "a"}


def rows(prompt: str, block: int = 0) -> list[dict]:
    return [
        {"prompt_id": prompt, "arm": arm, "block": block, "last_of_prompt": arm == "b"}
        for arm in ("a", "b")
    ]


def journal_file(folder: Path) -> Path:
    return folder / ".session-1.jsonl.journal"


def test_finishing_puts_the_rows_in_place_and_drops_the_journal(tmp_path: Path) -> None:
    final = tmp_path / "session-1.jsonl"
    with Journal(final, HEADER) as journal:
        journal.add("p1", rows("p1"))
        assert not final.exists()
        journal.finish()
    assert [json.loads(line) for line in final.read_text().splitlines()] == rows("p1")
    assert list(tmp_path.iterdir()) == [final]


def test_a_reopened_journal_resumes_as_a_new_block(tmp_path: Path) -> None:
    final = tmp_path / "session-1.jsonl"
    with Journal(final, HEADER) as journal:
        journal.add("p1", rows("p1"))
    before = journal_file(tmp_path).read_bytes()
    with Journal(final, HEADER) as journal:
        assert journal.done == {"p1"}
        assert journal.blocks == 1
        journal.add("p2", rows("p2", 1))
        journal.finish()
    kept = before.split(b"\n", 1)[1]
    assert final.read_bytes().startswith(kept)


@pytest.mark.parametrize("cut", [1, 20, 100])
def test_a_torn_last_prompt_is_dropped_and_nothing_else(tmp_path: Path, cut: int) -> None:
    final = tmp_path / "session-1.jsonl"
    with Journal(final, HEADER) as journal:
        journal.add("p1", rows("p1"))
    whole = journal_file(tmp_path).read_bytes()
    with Journal(final, HEADER) as journal:
        journal.add("p2", rows("p2"))
    torn = journal_file(tmp_path).read_bytes()[:-cut]
    journal_file(tmp_path).write_bytes(torn)
    with Journal(final, HEADER) as journal:
        assert journal.done == {"p1"}
    assert journal_file(tmp_path).read_bytes() == whole


def test_a_journal_of_other_inputs_is_set_aside_not_lost(tmp_path: Path) -> None:
    final = tmp_path / "session-1.jsonl"
    with Journal(final, HEADER) as journal:
        journal.add("p1", rows("p1"))
    before = journal_file(tmp_path).read_bytes()
    with Journal(final, {"config": "b"}) as journal:
        assert journal.done == set()
    other = journal_file(tmp_path).read_bytes()
    with Journal(final, {"config": "c"}):
        pass
    assert [file.read_bytes() for file in sorted(tmp_path.glob("*.aside"))] == [before, other]


def test_two_sessions_cannot_write_one_file(tmp_path: Path) -> None:
    final = tmp_path / "session-1.jsonl"
    with (
        Journal(final, HEADER),
        pytest.raises(HarnessError, match="another session is writing it"),
        Journal(final, HEADER),
    ):
        pass
