"""Ctrl-C: one line, exit code 130, and the next run goes on."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.__main__ import main
from harness.checkpoint import load_checkpoint, save_checkpoint
from harness.files import sha256_file
from harness.measure import roster
from methods.shared import training
from tests.faults.small import ARMS, PROMPTS, refused, rows, session
from tests.faults.small import training as training_arguments

SAID = "interrupted; the same command goes on from what is on disk"


def interrupting(call: Callable[..., Any], at: int) -> Callable[..., Any]:
    """``call``, but a Ctrl-C comes in its ``at``-th time."""
    calls = iter(range(1, 10_000))

    def interrupted(*arguments: Any) -> Any:
        if next(calls) == at:
            signal.raise_signal(signal.SIGINT)
        return call(*arguments)

    return interrupted


@pytest.fixture(autouse=True)
def listening() -> Any:
    """A background job ignores Ctrl-C, and hands that on to its children."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_in_a_session(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        # a warm-up of two arms, a prompt of two, then in the middle of the second prompt
        patched.setattr(roster, "run_timed", interrupting(roster.run_timed, at=6))
        assert refused(capsys, session(tmp_path), code=130) == SAID
    assert not (tmp_path / "session-1.jsonl").exists()
    kept = (tmp_path / ".session-1.jsonl.journal").read_text().splitlines()[1:]
    assert len(kept) == len(ARMS)
    assert main(session(tmp_path)) == 0
    assert "resuming after 1 prompts" in capsys.readouterr().out
    assert (tmp_path / "session-1.jsonl").read_text().splitlines()[: len(ARMS)] == kept
    assert len(rows(tmp_path)) == PROMPTS * len(ARMS)


def test_in_a_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = tmp_path / "methods/firp/projections.safetensors"
    assert main(training_arguments(tmp_path)) == 0
    whole = sha256_file(weights)
    weights.unlink()
    with monkeypatch.context() as patched:
        patched.setattr(training, "_step", interrupting(training._step, at=4))
        assert refused(capsys, training_arguments(tmp_path), code=130) == SAID
    assert not weights.exists()
    checkpoint = weights.with_name(training.CHECKPOINT)
    assert checkpoint.exists()
    steps = []
    monkeypatch.setattr(
        training, "_step", lambda *a, step=training._step: steps.append(a[-1]) or step(*a)
    )
    assert main(training_arguments(tmp_path)) == 0
    assert steps == [2, 3, 4, 5]
    assert sha256_file(weights) == whole
    assert not checkpoint.exists()


def test_a_checkpoint_that_is_cut_off_is_told_and_not_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = tmp_path / "methods/firp" / training.CHECKPOINT
    with monkeypatch.context() as patched:
        patched.setattr(training, "_step", interrupting(training._step, at=4))
        refused(capsys, training_arguments(tmp_path), code=130)
    checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    assert main(training_arguments(tmp_path)) == 0
    said = f"firp training: {checkpoint} is not whole, starting anew"
    assert capsys.readouterr().out.splitlines()[:-1] == [said]


def test_a_checkpoint_of_another_training_is_set_aside(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "checkpoint.pt"
    save_checkpoint(file, "a", {"step": 1})
    save_checkpoint(tmp_path / "same.pt", "a", {"step": 1})
    assert load_checkpoint(file, "b", "training") is None
    assert (
        "of another configuration, set aside as .checkpoint.pt.1.aside" in capsys.readouterr().out
    )
    assert not file.exists()
    kept = load_checkpoint(tmp_path / ".checkpoint.pt.1.aside", "a", "training")
    assert kept == load_checkpoint(tmp_path / "same.pt", "a", "training")


def test_too_little_memory_is_not_a_torn_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(tmp_path / "checkpoint.pt", "a", {"step": 1})

    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch, "load", full)
    with pytest.raises(torch.OutOfMemoryError):
        load_checkpoint(tmp_path / "checkpoint.pt", "a", "training")
