"""`decode`: what it streams, what it tells, and what it refuses, each in one line."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.__main__ import main
from harness.api import _plain_setting, load
from harness.commands.decode import Writer
from harness.decoder import StepRecord
from harness.experiment.arms import parse_arm
from harness.method import parse_settings
from methods import METHODS, load_method
from tests import ROOT
from tests.methods.test_firp_training import job
from tests.methods.test_firp_training import train as train_firp
from tests.models import save_tokenizer, tiny_model

PROMPT = "w3 w4 w5 w6"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model's folder; beside it, FIRP as trained for it, without a tuned setting."""
    root = tmp_path_factory.mktemp("decode")
    tiny_model("llama").save_pretrained(root / "model")
    save_tokenizer(root / "model")
    train_firp(job(load(root / "model").target, root / "firp"))
    return root


def run(folder: Path, *words: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of `decode` with the model of that folder."""
    common = ["--threads", "1", "decode", "--model", str(folder / "model"), "--chat", "raw"]
    capsys.readouterr()
    code = main([*common, "--max-new-tokens", "12", *words])
    said = capsys.readouterr()
    return code, said.out, said.err


def firp(folder: Path) -> list[str]:
    return ["--method", "firp", "--folder", str(folder / "firp")]


def test_it_streams_the_text_and_tells_what_it_took(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run(folder, *firp(folder), "--prompt", PROMPT, capsys=capsys)
    assert code == 0
    model = load(folder / "model", chat="raw")
    plain = model.decode(model.decoder("autoregressive"), PROMPT, 12)
    assert out.startswith(plain.text + "\n")
    assert "12 tokens in" in out
    assert "the same text" in out
    assert "\x1b" not in out, "no colours where it is no terminal"


def test_as_json_for_programs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(folder, *firp(folder), "--prompt", PROMPT, "--json", capsys=capsys)
    (line,) = out.splitlines()
    found = json.loads(line)
    assert found["equal"] is True
    assert found["tokens"] == len(found["ids"]) == 12
    assert found["acceptance_length"] == pytest.approx(11 / found["steps"], rel=1e-3)
    assert found["tokens_per_second"] > 0


@pytest.mark.parametrize("method", ["lookahead", "prompt_lookup", "hf_generate", "autoregressive"])
def test_what_is_not_trained_decodes_with_its_plain_setting(
    folder: Path, method: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--method", method, "--prompt", PROMPT, "--json")
    code, out, _ = run(folder, *words, capsys=capsys)
    assert code == 0
    assert json.loads(out)["equal"] is True


def test_bad_input_gets_one_line(
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = ["--prompt", PROMPT]
    (tmp_path / "empty").mkdir()
    (tmp_path / "latin").write_bytes(b"\xff\xfe")
    for words, said in (
        ([*firp(folder)], "prompt: empty, expected --prompt, --prompt-file or text on stdin"),
        ([*firp(folder), "--prompt", " "], "prompt: empty"),
        ([*firp(folder), "--prompt-file", str(tmp_path / "none")], "none: No such file"),
        ([*firp(folder), "--prompt-file", str(tmp_path / "latin")], "expected UTF-8 text"),
        (["--method", "medusa", "--folder", str(folder / "firp"), *asked], "medusa_num_heads"),
        (["--method", "firp", *asked], "method 'firp': no folder, expected the one that its"),
        (["--method", "firp", "--folder", str(tmp_path / "gone"), *asked], "no such folder"),
        (["--method", "firp", "--folder", str(tmp_path / "empty"), *asked], "no such file"),
        (["--method", "magic", *asked], "method 'magic': expected one of"),
        ([*firp(folder), *asked, "--max-new-tokens", "9999"], "model's context of"),
        ([*firp(folder), *asked, "--max-new-tokens", "0"], "expected at least 1"),
        ([*firp(folder), *asked, "--settings", "{"], "--settings: expected JSON"),
    ):
        monkeypatch.setattr(sys, "stdin", io.StringIO(""))
        code, out, err = run(folder, *words, capsys=capsys)
        assert code == 2, words
        line = err.splitlines()[-1]
        assert line.startswith("error: "), words
        assert said in line, words
        assert out == "", words


def test_away_from_a_checkout_mini_is_said_to_be_part_of_one(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "harness", "decode", "--model", "mini"]
    done = subprocess.run(
        [*command, "--method", "autoregressive", "--prompt", "x"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.strip().endswith("it is part of a checkout; run from there")


class Bytes:
    """A tokenizer whose tokens are bytes of UTF-8."""

    def decode(self, ids: list[int], **_: Any) -> str:
        return bytes(ids).decode(errors="replace")


def _written(*, coloured: bool) -> str:
    text = "aé€😀b".encode()
    out = io.StringIO()
    writer = Writer(Bytes(), out, coloured=coloured)
    for step in (text[:2], text[2:5], text[5:9], text[9:]):
        writer.step(StepRecord(tuple(step), path=tuple(range(1, len(step)))))
        assert "\ufffd" not in out.getvalue(), "a character comes when it is whole"
    return out.getvalue()


def test_characters_of_several_tokens_are_written_whole() -> None:
    assert _written(coloured=False) == "aé€😀b"


def test_accepted_drafts_are_coloured() -> None:
    text = _written(coloured=True)
    assert text.startswith("\x1b[32ma\x1b[0m"), "the first of two tokens was drafted"
    assert text.endswith("b"), "the last step drafted nothing"
    assert text.replace("\x1b[32m", "").replace("\x1b[0m", "") == "aé€😀b"


def test_ready_made_parts_are_those_of_the_method_that_trains_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ("decode", "--model", "mini", "--method", "medusa_typical", "--prompt", "Hi", "--json")
    assert main(["--threads", "1", *words, "--max-new-tokens", "8"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["tokens"] > 0


def test_every_tuned_method_has_a_plain_setting() -> None:
    tuned = [name for name, entry in METHODS.items() if entry.tuned]
    assert len(tuned) > 5
    assert [name for name in tuned if load_method(name).plain is None] == []


def test_a_plain_setting_follows_the_settings_that_are_given() -> None:
    for given, depth in (({"depth": 2}, 2), ({}, 5)):
        arm = parse_arm("eagle", given)
        settings = parse_settings("eagle", arm.method, arm.settings)
        assert _plain_setting(arm, settings, Path())["depth"] == depth


def test_help_is_by_stage_and_needs_no_torch() -> None:
    code = (
        "import sys; from harness.__main__ import main\n"
        "try: main(['--help'])\nfinally: print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("False")
    assert "try a method:\n  decode" in done.stdout
    command = [sys.executable, "-m", "harness", "--version"]
    version = subprocess.run(command, capture_output=True, text=True, check=True)
    assert version.stdout.count(".") >= 1


def test_a_wrong_command_is_answered_with_its_neighbours(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["tabels"])
    assert capsys.readouterr().err == "error: no command 'tabels'; expected one as tables\n"
