"""The lines of Python that the README shows do what it says."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


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
