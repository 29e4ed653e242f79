"""A wall clock that is set back changes no duration, no order and no decision to resume."""

import dataclasses
import datetime
import json
import time
from pathlib import Path
from typing import Any

import pytest
from optuna.storages.journal import _storage

from harness.__main__ import main
from methods.self_speculative.calibration import Calibration
from methods.self_speculative.search import Space, search
from tests.faults.small import ARMS, PROMPTS, rows, session
from tests.methods.test_self_speculative import _job

COSTS = Calibration(1e-4, 2e-5, 3e-5, (4e-4, 5e-4, 6e-4, 7e-4))


class SetBack(datetime.datetime):
    """Every look at this clock finds it an hour earlier."""

    looks = 0

    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:
        cls.looks += 1
        return datetime.datetime.now(tz) - datetime.timedelta(hours=cls.looks)


@pytest.fixture
def set_back(monkeypatch: pytest.MonkeyPatch) -> type[SetBack]:
    """Both clocks of the wall that Python has."""
    looks = iter(range(10_000_000))
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now - 3600.0 * next(looks))
    monkeypatch.setattr(time, "time_ns", lambda: int((now - 3600.0 * next(looks)) * 1e9))
    monkeypatch.setattr(_storage, "datetime", SetBack)
    SetBack.looks = 0
    return SetBack


def test_a_session(tmp_path: Path, set_back: type[SetBack]) -> None:
    assert main(session(tmp_path)) == 0
    found = rows(tmp_path)
    assert len(found) == PROMPTS * len(ARMS)
    for row in found:
        assert 0 < row["prefill_seconds"] < 60
        assert 0 < row["decode_seconds"] < 60


def test_a_session_that_goes_on(tmp_path: Path, set_back: type[SetBack]) -> None:
    journal, final = tmp_path / ".session-1.jsonl.journal", tmp_path / "session-1.jsonl"
    arguments = session(tmp_path)
    assert main(arguments) == 0
    orders = [row["arm"] for row in rows(tmp_path)]
    header = _header(arguments, journal)
    lines = final.read_text().splitlines(keepends=True)
    journal.write_text(header + "".join(lines[: len(ARMS)]))
    final.unlink()
    assert main(arguments) == 0
    assert final.read_text().splitlines(keepends=True)[: len(ARMS)] == lines[: len(ARMS)]
    assert [row["arm"] for row in rows(tmp_path)] == orders


def _header(arguments: list[str], journal: Path) -> str:
    """The first line of the journal, from a session that breaks off at once."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("harness.measure.session._measure", _break_off)
        with pytest.raises(ZeroDivisionError):
            main(arguments)
    return journal.read_text().splitlines(keepends=True)[0]


def _break_off(*_: Any) -> None:
    raise ZeroDivisionError


def test_a_search_that_goes_on(
    tmp_path: Path, set_back: type[SetBack], monkeypatch: pytest.MonkeyPatch
) -> None:
    job, journal = _job(tmp_path, 6), tmp_path / "search.journal"
    long, short = (Space((2, 3), (0.4, 0.8), 2, trials, 12) for trials in (6, 3))
    whole, _ = search(job, COSTS, long, tmp_path / "whole.journal")
    search(job, COSTS, short, journal)
    monkeypatch.setattr(Space, "points", lambda *_: 6)  # it would go on until its hour is over
    limited = dataclasses.replace(job, seconds=3600.0)
    found, earlier = search(limited, COSTS, long, journal)
    assert found == whole
    assert 0 < earlier < 60
    assert set_back.looks > 0
    stamps = [json.loads(line).get("datetime_start", "") for line in journal.open()]
    stamps = [stamp for stamp in stamps if stamp]
    assert stamps == sorted(stamps, reverse=True), "control: the clock did go backwards"
