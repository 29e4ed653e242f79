"""The smallest commands that run on the shipped target, in this process."""

import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from harness.__main__ import main
from harness.commands.prompts import freeze_prompts
from harness.commands.stand_in import make_stand_in
from harness.data.answers import write_answers
from harness.data.prompts import read_prompts
from harness.experiment.steps import Freeze, Source, Split
from harness.models import ModelSpec
from tests import ROOT

TARGET = str(ROOT / "workflows/resources/mini-target")
PROMPTS, CAP = 3, 6
ARMS: dict[str, dict[str, Any]] = {"autoregressive": {}, "autoregressive_again": {}}
TRAINING = {"training_steps": 6, "batch": 2, "evaluate_every": 2, "entry_layers": [3, 3]}


def prompts(folder: Path, count: int = PROMPTS) -> Path:
    """Freeze prompts of a stand-in."""
    file = folder / "prompts.jsonl"
    if not file.exists():
        make_stand_in("gsm8k", "test", count, 0, folder / "questions.jsonl")
        split = Split("gsm8k", Source(str(folder / "questions.jsonl")), 300)
        freeze_prompts(ModelSpec(path=TARGET), Freeze(split, str(file)), {})
    return file


def session(
    folder: Path, arms: dict[str, dict[str, Any]] = ARMS, count: int = PROMPTS, cap: int = CAP
) -> list[str]:
    """Arguments of a session of ``count`` prompts."""
    labels = {"experiment": "x", "model": "mini", "dataset": "gsm8k", "session": 1}
    options = {"labels": labels, "seed": 1, "max_new_tokens": cap, "warmup": 1}
    asked = str(prompts(folder, count))
    return [
        *("--threads", "1", "session", "--model", json.dumps({"path": TARGET})),
        *("--methods", json.dumps(arms), "--options", json.dumps(options)),
        *("--prompts", asked, "--warmup", asked),
        *("--folders", str(folder / "methods"), "--out", str(folder / "session-1.jsonl")),
    ]


def training(folder: Path) -> list[str]:
    """Arguments of a training of FIRP's projections: six steps, a checkpoint after every two."""
    asked, file = read_prompts(prompts(folder)), folder / "answers.jsonl"
    if not file.exists():
        write_answers(file, asked, [[*range(5, 5 + CAP)]] * len(asked))
    return [
        *("--threads", "1", "train", "--method", "firp", "--settings", json.dumps(TRAINING)),
        *("--model", json.dumps({"path": TARGET}), "--folder", str(folder / "methods/firp")),
        *("--train-answers", str(file), "--tune-answers", str(file)),
    ]


def refused(capsys: pytest.CaptureFixture[str], arguments: list[str], code: int = 2) -> str:
    """The one line of a command that fails, ``error:`` left out; progress bars come before it."""
    capsys.readouterr()
    assert main(arguments) == code
    lines = capsys.readouterr().err.replace("\r", "\n").strip().splitlines()
    told = [line for line in lines if line.startswith("error: ")]
    assert told == lines[-1:]
    assert not any("Traceback" in line for line in lines)
    return told[0].removeprefix("error: ")


def rows(folder: Path) -> list[dict[str, Any]]:
    """Rows of the finished session."""
    return [json.loads(line) for line in (folder / "session-1.jsonl").read_text().splitlines()]


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Let the kernel refuse what makes a file larger than ``size`` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
