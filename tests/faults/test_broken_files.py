"""Files that cannot be read or that lost their end: one line names the file and what is wrong."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from harness.__main__ import main
from harness.files import read_json, write_json
from harness.models import ModelSpec, load_target, weights_hash
from methods.medusa.heads import Heads, save
from tests import lab
from tests.faults.small import ARMS, TARGET, refused, session, training

FIRP = {**ARMS, "firp": {}}


def cut(file: Path) -> None:
    """Lose the end."""
    data = file.read_bytes()
    file.write_bytes(data[: len(data) - 40])


def forbid(file: Path) -> None:
    """Nobody may read it."""
    file.chmod(0)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with prompts, answers, trained projections and a setting."""
    folder = tmp_path_factory.mktemp("prepared")
    session(folder)
    assert main(training(folder)) == 0
    tree = {"policy": "static", "drafts": 1, "depth": 1, "paths": [[0]], "passes": "combined"}
    write_json(folder / "methods/firp/setting.json", tree)
    return folder


@pytest.fixture
def copied(prepared: Path, tmp_path: Path) -> Path:
    """A copy that may be broken."""
    shutil.copytree(prepared, tmp_path / "copy")
    return tmp_path / "copy"


def decode(folder: Path) -> list[str]:
    return session(folder, FIRP)


PROJECTIONS = "methods/firp/projections.safetensors"
CASES: list[tuple[str, Callable[[Path], list[str]], str]] = [
    ("prompts.jsonl", decode, "{file} line 3: expected JSON, found "),
    ("answers.jsonl", training, "{file} line 3: expected JSON, found "),
    (PROJECTIONS, decode, "{folder}: FIRP sha256 is "),
    ("methods/firp/setting.json", decode, "{file}: expected JSON, found "),
    ("methods/firp/config.json", decode, "{file}: expected JSON, found "),
]


@pytest.mark.parametrize(("name", "command", "expected"), CASES, ids=[case[0] for case in CASES])
def test_a_file_without_its_end(
    copied: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    command: Callable[[Path], list[str]],
    expected: str,
) -> None:
    arguments, file = command(copied), copied / name
    cut(file)
    line = refused(capsys, arguments)
    assert line.startswith(expected.format(file=file, folder=file.parent))
    assert not (copied / "session-1.jsonl").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize(("name", "command", "expected"), CASES, ids=[case[0] for case in CASES])
def test_a_file_that_nobody_may_read(
    copied: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    command: Callable[[Path], list[str]],
    expected: str,
) -> None:
    arguments, file = command(copied), copied / name
    forbid(file)
    assert refused(capsys, arguments) == f"{file}: Permission denied"


def test_control_whole_files_decode(copied: Path) -> None:
    assert main(decode(copied)) == 0


def test_projections_of_another_target_are_refused(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = copied / "methods/firp/config.json"
    facts = read_json(config)
    write_json(config, facts | {"target_hash": "abc"})
    said = f"{config.parent}: FIRP target_hash is abc, expected {facts['target_hash']}"
    assert refused(capsys, decode(copied)) == said


def test_heads_of_another_target_are_refused(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target, folder = load_target(ModelSpec(path=TARGET)), copied / "methods/medusa"
    heads = Heads(1, 1, target.model.lm_head.weight.detach().float())
    save(heads, folder, "", {"target_hash": "abc"})
    shutil.copy(copied / "methods/firp/setting.json", folder / "setting.json")
    line = refused(capsys, session(copied, {**ARMS, "medusa": {}}))
    assert line == f"{folder}: heads of target abc, expected {target.weights_hash}"


def test_a_draft_model_of_another_target_is_refused(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copied / "methods/hf_assisted"
    shutil.copytree(TARGET, folder / "draft-model")
    weights = weights_hash(ModelSpec(path=str(folder / "draft-model")))
    write_json(folder / "setting.json", {"drafts": 3})
    write_json(folder / "config.json", {"target_hash": "abc", "weights": weights})
    arguments = session(copied, {**ARMS, "hf_assisted": {}})
    assert refused(capsys, arguments).startswith(f"{folder}: hf_assisted target_hash is abc, ")


def test_a_given_draft_model_that_changed_since_tuning_is_refused(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given, folder = copied / "draft", copied / "methods/hf_assisted"
    shutil.copytree(TARGET, given)
    weights = weights_hash(ModelSpec(path=str(given)))
    write_json(folder / "setting.json", {"drafts": 3})
    write_json(folder / "config.json", {"pretrained": str(given), "weights": weights})
    arguments = session(copied, {**ARMS, "hf_assisted": {"pretrained": str(given)}})
    assert main(arguments) == 0, "control: the one that was tuned"
    state = load_file(given / "model.safetensors")
    save_file({name: value * 1.01 for name, value in state.items()}, given / "model.safetensors")
    (copied / "session-1.jsonl").unlink()
    assert refused(capsys, arguments).startswith(f"{folder}: hf_assisted weights is {weights}, ")


@pytest.mark.parametrize(
    ("lost", "said"),
    [
        (1, "tiny/gsm8k: arms have "),
        (2, "tiny/gsm8k, session 1: no rows of 1 frozen prompts, the first is gsm8k-3-1"),
    ],
)
def test_rows_that_lost_their_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], lost: int, said: str
) -> None:
    """Two arms a prompt: the file ends within one, or between two of them."""
    assert lab.run(lab.Lab(), tmp_path) == {}
    file = tmp_path / "runs/tiny/gsm8k/session-1.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:-lost]))
    experiment = json.dumps(lab._experiment())
    arguments = ["tables", "--root", str(tmp_path), "--experiment", experiment]
    assert refused(capsys, arguments).startswith(said)
