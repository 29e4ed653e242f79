"""A disk that takes no more: the file is named, what was measured stays, nothing is half there.

A limit on the size of files stands for the full disk: the kernel refuses the write all the same.
"""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import typst
from matplotlib.figure import Figure
from safetensors.torch import save_file

from harness.__main__ import main
from harness.errors import HarnessError
from harness.files import replacing, replacing_files, write_text
from harness.measure.journal import Journal
from tests import ROOT
from tests.faults.small import (
    ARMS,
    PROMPTS,
    file_size_limit,
    prompts,
    refused,
    rows,
    session,
    training,
)
from tests.models import tiny_model

REFUSED = "File too large"


def test_a_session_keeps_its_rows_and_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(session(tmp_path)) == 0
    size = (tmp_path / "session-1.jsonl").stat().st_size
    (tmp_path / "session-1.jsonl").unlink()
    journal = tmp_path / ".session-1.jsonl.journal"
    arguments = session(tmp_path)
    with file_size_limit(size):  # the header is what does not fit, so that the last prompt is torn
        assert refused(capsys, arguments) == f"{journal}: {REFUSED}"
    assert not (tmp_path / "session-1.jsonl").exists()
    kept = journal.read_bytes().splitlines(keepends=True)[1 : 1 + (PROMPTS - 1) * len(ARMS)]
    assert len(kept) == (PROMPTS - 1) * len(ARMS)
    assert main(arguments) == 0
    assert f"resuming after {PROMPTS - 1} prompts" in capsys.readouterr().out
    assert (tmp_path / "session-1.jsonl").read_bytes().startswith(b"".join(kept))
    assert [row["arm"] for row in rows(tmp_path)].count("autoregressive") == PROMPTS


def test_a_session_that_cannot_write_its_final_file_keeps_the_journal(tmp_path: Path) -> None:
    final = tmp_path / "session-1.jsonl"
    row = {"prompt_id": "p", "block": 0, "last_of_prompt": True, "text": "x" * 5000}
    with Journal(final, {}) as journal:
        journal.add("p", [row])
        with file_size_limit(100), pytest.raises(OSError, match=f"{REFUSED}: '{final}'"):
            journal.finish()
    assert [file.name for file in tmp_path.iterdir()] == [".session-1.jsonl.journal"]
    with Journal(final, {}) as journal:
        assert journal.done == {"p"}
        journal.finish()
    assert [json.loads(line) for line in final.read_text().splitlines()] == [row]


def test_a_training_names_its_checkpoint_and_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = training(tmp_path)
    with file_size_limit(100_000):
        line = refused(capsys, arguments)
    checkpoint = tmp_path / "methods/firp/checkpoint.pt"
    assert line.startswith(f"{checkpoint}: ")
    assert list((tmp_path / "methods/firp").iterdir()) == []
    assert main(arguments) == 0


def _figure(file: Path) -> None:
    figure = Figure()
    figure.subplots().plot(range(500))
    figure.savefig(file, format="svg")


def _pdf(file: Path) -> None:
    (file.parent / "x.typ").write_text("= A title")
    typst.compile(str(file.parent / "x.typ"), output=str(file), format="pdf")


WRITERS: dict[str, Callable[[Path], Any]] = {
    "text": lambda file: file.write_text("x" * 9999),
    "table": lambda file: pd.DataFrame({"a": range(5000)}).to_csv(file),
    "tensors": lambda file: save_file({"a": torch.zeros(9999)}, file),
    "checkpoint": lambda file: torch.save({"a": torch.zeros(9999)}, file),
    "figure": _figure,
    "report": _pdf,
}


@pytest.mark.parametrize("name", WRITERS)
def test_the_file_that_cannot_be_written_is_named(tmp_path: Path, name: str) -> None:
    final = tmp_path / "folder" / "final"
    write_text(final, "the old one")
    with (
        file_size_limit(1000),
        pytest.raises((HarnessError, OSError)) as error,
        replacing(final) as temporary,
    ):
        WRITERS[name](temporary)
    line = str(error.value)
    assert str(final) in line and len(line.splitlines()) == 1
    assert ".tmp" not in line
    assert final.read_text() == "the old one"
    assert {file.name for file in final.parent.iterdir()} <= {"final", "x.typ"}


def test_a_model_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    with (
        file_size_limit(1000),
        pytest.raises((HarnessError, OSError), match=f"{folder}"),
        replacing_files(folder) as temporary,
    ):
        tiny_model("llama").save_pretrained(temporary)
    assert list(folder.iterdir()) == []
    with replacing_files(folder) as temporary:
        tiny_model("llama").save_pretrained(temporary)
    assert {"config.json", "model.safetensors"} <= {file.name for file in folder.iterdir()}


def test_what_killed_writers_left_goes_and_what_others_write_stays(tmp_path: Path) -> None:
    final = tmp_path / "final"
    dead, alive = tmp_path / ".final.999999999.tmp", tmp_path / ".final.1.tmp"
    other = tmp_path / ".other.999999999.tmp"
    for file in (dead, alive, other):
        file.write_text("half")
    write_text(final, "whole")
    assert set(tmp_path.iterdir()) == {final, alive, other}


def _logged(into: str, code: int) -> tuple[int, str]:
    """Exit code and screen of a step that ends in ``code``, in the shell that Snakemake uses."""
    command = ("bash", "-euo", "pipefail", "-c", f"(echo told; exit {code}) 2>&1 | {into}")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


def test_a_log_that_cannot_be_written_fails_no_step_and_hides_no_failure() -> None:
    rules = (file.read_text() for file in (ROOT / "workflows/rules").glob("*.smk"))
    logs = re.findall(r"2>&1 \| (.*)\"$", "".join(rules), re.M)
    assert len(logs) > 10
    for log in set(logs):
        full = log.replace("{log}", "/dev/full")
        assert _logged(full, 0) == (0, "told\n")
        assert _logged(full, 3) == (3, "told\n")
    assert _logged("tee /dev/full", 0) == (1, "told\n"), "control: a log without a guard"


def test_control_a_disk_that_takes_all(tmp_path: Path) -> None:
    with file_size_limit(10**9):
        assert main(session(tmp_path)) == 0
    assert prompts(tmp_path).is_file()
