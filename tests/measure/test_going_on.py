"""A session that broke off goes on only with the inputs that it began with."""

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.__main__ import main
from harness.files import write_json
from harness.measure.journal import Journal
from tests.faults.small import ARMS, rows, session

LOOKUP = {**ARMS, "prompt_lookup": {}}
SETTING = {"drafts": 3, "longest": 2, "match": "leftmost"}


def _broken_off(folder: Path) -> None:
    """A session that ends after its first prompt."""
    write_json(folder / "methods/prompt_lookup/setting.json", SETTING)
    add = Journal.add

    def last(*given: object) -> None:
        add(*given)  # type: ignore[arg-type]
        raise ZeroDivisionError

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Journal, "add", last)
        with pytest.raises(ZeroDivisionError):
            main(session(folder, LOOKUP))


def _other_setting(folder: Path) -> list[str]:
    write_json(folder / "methods/prompt_lookup/setting.json", SETTING | {"drafts": 4})
    return session(folder, LOOKUP)


def _other_warm_up(folder: Path) -> list[str]:
    arguments, other = session(folder, LOOKUP), folder / "warmup.jsonl"
    place = arguments.index("--warmup") + 1
    other.write_text("".join(Path(arguments[place]).read_text().splitlines(keepends=True)[:-1]))
    arguments[place] = str(other)
    return arguments


@pytest.mark.parametrize(
    "change",
    [
        _other_setting,
        _other_warm_up,
        lambda folder: session(folder, {**LOOKUP, "prompt_lookup": {"tuning_rounds": 1}}),
        lambda folder: session(folder, LOOKUP, cap=5),
    ],
    ids=["setting", "warm-up", "settings of an arm", "cap"],
)
def test_with_other_inputs_it_begins_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Callable[[Path], list[str]]
) -> None:
    _broken_off(tmp_path)
    assert main(change(tmp_path)) == 0
    assert "a journal of other inputs was set aside" in capsys.readouterr().out
    assert {row["block"] for row in rows(tmp_path)} == {0}


def test_with_the_same_inputs_it_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _broken_off(tmp_path)
    (tmp_path / "methods/prompt_lookup/learnt.csv").write_text("for readers\n")
    assert main(session(tmp_path, LOOKUP)) == 0
    assert "resuming after 1 prompts" in capsys.readouterr().out
    assert {row["block"] for row in rows(tmp_path)} == {0, 1}
