"""The lines of Python that the README shows do what it says."""

import re

import pytest

from harness.api import Answer
from harness.decoder import StepRecord
from tests import ROOT


def test_the_readme_s_lines_decode_a_prompt(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    lines = [line for line in code.splitlines() if line]
    assert len(lines) <= 8
    monkeypatch.chdir(ROOT)
    exec(code, {})
    text, length, same = capsys.readouterr().out.strip().rsplit(" ", 2)
    assert "7" in text, "three apples and four"
    assert float(length) > 1.5, "drafts are accepted"
    assert same == "True"


def test_tokens_of_the_prefill_are_no_decode_step_s() -> None:
    records = [StepRecord((1, 2)), StepRecord((3,)), StepRecord((4, 5, 6))]
    answer = Answer("", [1, 2, 3, 4, 5, 6], records, 2.0, 1.0)
    assert (answer.steps, answer.acceptance_length, answer.tokens_per_second) == (2, 2.0, 4.0)
    assert Answer("", [1, 2], records[:1], 2.0, 0.0).acceptance_length == 0.0
