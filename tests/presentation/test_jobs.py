"""Snakemake's events as lines for a person; every rule of the workflow has words."""

import logging
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.experiment.config import SPLITS
from harness.presentation import jobs
from harness.presentation.jobs import HANDLER, WORDS, held_by_another, remove_others, speak_in_words
from harness.presentation.terminal import aligned

ROOT = Path(__file__).resolve().parents[2]


class Kept(logging.Handler):
    """Keeps what a terminal would show."""

    def __init__(self) -> None:
        super().__init__()
        self.set_name(HANDLER)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@pytest.fixture
def terminal() -> tuple[logging.Logger, Kept]:
    logger, kept = logging.Logger("made"), Kept()
    logger.addHandler(kept)
    return logger, kept


def _run_a_job(logger: logging.Logger) -> None:
    def say(message: str | None, event: str, **facts: object) -> None:
        logger.info(message, extra={"event": SimpleNamespace(value=event), **facts})

    logger.info("Select jobs to execute...")
    wildcards = {"method": "firp", "model": "mini"}
    say(" Rule: x, Jobid: 3", "job_info", jobid=3, rule_name="tune_method", wildcards=wildcards)
    say("Finished jobid: 3", "job_finished", job_id=3)
    say(None, "progress", done=2, total=9)
    logger.error("something else")


def test_a_job_is_told_in_words_with_its_seconds(
    terminal: tuple[logging.Logger, Kept], monkeypatch: pytest.MonkeyPatch
) -> None:
    logger, kept = terminal
    clock = iter([100.0, 112.4])
    monkeypatch.setattr(jobs.time, "monotonic", lambda: next(clock))
    speak_in_words(logger)
    _run_a_job(logger)
    assert kept.lines == [
        "choosing the setting of firp for mini",
        "[2 of 9] choosing the setting of firp for mini, 12 s",
        "something else",
    ]


def test_control_without_it_everything_is_shown(
    terminal: tuple[logging.Logger, Kept],
) -> None:
    logger, kept = terminal
    _run_a_job(logger)
    assert "Select jobs to execute..." in kept.lines
    assert len(kept.lines) == 5


def test_every_rule_has_words() -> None:
    gathering = {"all", "engine", "sweep", "parts"}  # targets that run nothing
    texts = [file.read_text() for file in sorted((ROOT / "workflows/rules").glob("*.smk"))]
    rules = set(re.findall(r"^ *(?:use rule \w+ as|rule) (\w+)", "\n".join(texts), re.M))
    # one rule for each split, in a loop
    name = '"freeze_prompts" if split == "test" else f"freeze_{split}_prompts"'
    assert name in "".join(texts)
    rules |= {eval(name, {"split": split}) for split in SPLITS}
    assert len(rules) > 20
    assert rules - gathering == set(WORDS)


def test_reports_of_another_experiment_are_told(tmp_path: Path) -> None:
    assert held_by_another(tmp_path, "mini") is None
    (tmp_path / "index.html").write_text("<title>firp-bench: smoke</title>")
    assert held_by_another(tmp_path, "smoke") is None
    said = held_by_another(tmp_path, "mini")
    assert said == f"{tmp_path}/ holds the reports of smoke; those of mini take their place"


def test_pdfs_that_an_experiment_has_not_are_removed(tmp_path: Path) -> None:
    def left(page: str) -> set[str]:
        for name in ("gsm8k.pdf", "xsum.pdf", "paper.pdf", "mine.pdf"):
            (tmp_path / name).touch()
        (tmp_path / "index.html").write_text(f"<title>firp-bench: {page}</title>")
        remove_others(tmp_path, "own", ["xsum", "paper"])
        return {file.stem for file in tmp_path.glob("*.pdf")}

    assert left("another") == {"gsm8k", "xsum", "paper", "mine"}, "control: not yet its own"
    assert left("own") == {"xsum", "paper", "mine"}


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert aligned([["method", "x"], ["FIRP", "2.50"]]) == ["method     x", "FIRP    2.50"]
