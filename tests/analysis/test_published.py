"""Answer files of other harnesses: what is read, what is computed, what is refused."""

import json
import math
from pathlib import Path

import pandas as pd
import pytest

from harness.errors import HarnessError
from harness.published.command import import_runs
from harness.published.files import read_answer_file
from harness.published.tables import acceptance_lengths, pairs_table, runs_table


def _medusa(question: int, seconds: float, **change: object) -> dict[str, object]:
    """Two turns of 30 and 10 tokens; the last steps were the 10th and the 5th."""
    choice = {
        "index": 0,
        "turns": ["so", "on"],
        "idxs": [9, 4],
        "new_tokens": [30, 10],
        "wall_time": [seconds, seconds / 2],
        **change,
    }
    return {"question_id": question, "choices": [choice]}


def _spec_bench(question: int) -> dict[str, object]:
    choice = {
        "turns": ["so", "on"],
        "decoding_steps": [3, 2],
        "new_tokens": [7, 3],
        "wall_time": [1.0, 1.0],
        "accept_lengths": [1, 3, 3, 1, 2],
    }
    return {"question_id": question, "category": "qa", "choices": [choice]}


def _write(file: Path, lines: list[object]) -> Path:
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


def test_every_definition_of_acceptance_length(tmp_path: Path) -> None:
    rows = read_answer_file("a", _write(tmp_path / "a.jsonl", [_medusa(q, 2.0) for q in (1, 2)]))
    found = acceptance_lengths(rows)
    assert found["tokens_per_logged_step"] == pytest.approx(40 / 13), "an index taken for a count"
    assert found["tokens_per_step"] == pytest.approx(40 / 15)
    assert found["mean_over_turns"] == pytest.approx((30 / 10 + 10 / 5) / 2)
    assert math.isnan(found["listed"])
    both = _medusa(1, 2.0, accept_lengths=[4] + [3] * 9 + [1] + [2] * 4)
    zero_based = read_answer_file("c", _write(tmp_path / "c.jsonl", [both]))
    assert list(zero_based["first_accepted"]) == [4, 1], "cut by counts, not by indices"
    uncut = _medusa(1, 2.0, accept_lengths=[3] * 14)
    unknown = acceptance_lengths(read_answer_file("d", _write(tmp_path / "d.jsonl", [uncut])))
    assert unknown["listed"] == 3
    assert math.isnan(unknown["listed_without_first"])
    listed = acceptance_lengths(
        read_answer_file("b", _write(tmp_path / "b.jsonl", [_spec_bench(1)]))
    )
    assert listed["tokens_per_step"] == pytest.approx(10 / 5), "a count stays a count"
    assert listed["listed"] == pytest.approx(10 / 5)
    assert listed["listed_without_first"] == pytest.approx((3 + 3 + 2) / 3)


def test_rates_and_paired_ratios(tmp_path: Path) -> None:
    slow = [_medusa(q, 1.0 + q) for q in range(1, 9)]
    fast = [_medusa(q, (1.0 + q) / (2.0 if q % 2 else 1.8)) for q in range(1, 8)]
    rows = pd.concat(
        [
            read_answer_file("slow", _write(tmp_path / "slow.jsonl", slow)),
            read_answer_file("fast", _write(tmp_path / "fast.jsonl", fast)),
        ]
    )
    runs = runs_table(rows).set_index("run")
    seconds = 1.5 * sum(1.0 + q for q in range(1, 9))
    assert runs.loc["slow", "tokens_per_second"] == pytest.approx(8 * 40 / seconds)
    assert runs.loc["slow", "ci_low"] < 8 * 40 / seconds < runs.loc["slow", "ci_high"]
    (pair,) = pairs_table(rows).to_dict("records")
    assert pair["questions"] == 7, "those that both answered"
    assert (pair["same_texts"], pair["same_token_counts"]) == (1, 1)
    assert 1.75 < pair["ci_low"] < pair["times_as_fast"] < pair["ci_high"] < 2.05
    assert pair["geometric_mean"] == pytest.approx((2.0**4 * 1.8**3) ** (1 / 7))
    rates = [
        sum(1 / (1 + q) * (f if q % 2 else g) for q in range(1, 8)) for f, g in ((2, 1.8), (1, 1))
    ]
    assert pair["mean_of_rates"] == pytest.approx(rates[0] / rates[1])


def test_a_session_s_own_speed_looks_like_a_difference_of_methods(tmp_path: Path) -> None:
    """Why a file alone cannot rank: one that is 8 % slower throughout has a tight interval."""
    one = [_medusa(q, 1.0 + q) for q in range(1, 9)]
    two = [_medusa(q, (1.0 + q) * (1.08 + 0.002 * (q % 3))) for q in range(1, 9)]
    rows = pd.concat(
        read_answer_file(name, _write(tmp_path / f"{name}.jsonl", lines))
        for name, lines in (("one", one), ("two", two))
    )
    (pair,) = pairs_table(rows).to_dict("records")
    assert pair["ci_high"] < 0.95


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"question_id": 1}, "line 1: no 'choices'"),
        ({"choices": []}, "line 1: no 'question_id'"),
        (_medusa(1, 1.0, new_tokens=None), "without a list 'new_tokens'"),
        (_medusa(1, 1.0, new_tokens=[1]), "expected as many of each"),
        (_medusa(1, 1.0, idxs=[1]), "expected as many of each"),
        (_medusa(1, -1.0), r"wall_time -1.0, expected a number >= 0"),
        (_medusa(1, 0.0), r"wall_time 0.0, expected a number > 0"),
        (_medusa(1, 1.0, idxs=5), "without a list 'idxs'"),
        (_medusa(1, 1.0, idxs=["a", 1]), "idxs 'a', expected a number"),
        (_medusa(1, 1.0, new_tokens=[10**400, 1]), "new_tokens 1000"),
        (_medusa(1, 1.0, accept_lengths=None), "accept_lengths None, expected a list"),
        (_medusa(1, 1.0, accept_lengths=["x"]), "accept_lengths 'x', expected a number"),
        (_medusa(1, 1.0, accept_lengths=[[1], [2], [3]]), "3 lists of accept_lengths, 2 turns"),
        ({"question_id": 1, "choices": ["x"]}, "a choice is str"),
        (_medusa(1, math.nan), r"wall_time nan, expected a number >= 0"),
        (_medusa(1, 1.0, new_tokens=["a", "b"]), r"new_tokens 'a', expected a number"),
    ],
)
def test_what_is_no_answer_is_refused(tmp_path: Path, line: object, message: str) -> None:
    with pytest.raises(HarnessError, match=message):
        read_answer_file("a", _write(tmp_path / "a.jsonl", [line]))


def test_failed_turns_are_left_out_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [_medusa(1, 1.0), _medusa(2, 1.0, turns=["so", "ERROR"])]
    import_runs([f"a={_write(tmp_path / 'a.jsonl', lines)}"], tmp_path / "out")
    assert "1 turns are 'ERROR'" in capsys.readouterr().out
    assert pd.read_csv(tmp_path / "out/runs.csv")["turns"][0] == 3
    nothing = _write(tmp_path / "b.jsonl", [_medusa(1, 1.0, new_tokens=[0, 0])])
    with pytest.raises(HarnessError, match="no tokens in any answer"):
        import_runs([f"b={nothing}"], tmp_path / "out")


def test_a_question_twice_or_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="question 1 occurs twice"):
        read_answer_file("a", _write(tmp_path / "a.jsonl", [_medusa(1, 1.0), _medusa(1, 1.0)]))
    with pytest.raises(HarnessError, match="no answers"):
        read_answer_file("a", _write(tmp_path / "a.jsonl", []))


def test_the_command_writes_tables_and_says_what_files_cannot_show(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = _write(tmp_path / "a.jsonl", [_medusa(q, 1.0) for q in (1, 2)])
    import_runs([f"one={file}", f"two={file}"], tmp_path / "out")
    printed = capsys.readouterr().out.splitlines()
    assert len(pd.read_csv(tmp_path / "out/rows.csv")) == 8
    assert sum(line.startswith("warning: ") for line in printed) == 4
    assert list(pd.read_csv(tmp_path / "out/runs.csv")["run"]) == ["one", "two"]
    assert pd.read_csv(tmp_path / "out/pairs.csv")["times_as_fast"][0] == pytest.approx(1)
    for given, message in (
        (["one"], "expected NAME=FILE"),
        ([f"one={file}", f"one={file}"], "given twice"),
    ):
        with pytest.raises(HarnessError, match=message):
            import_runs(given, tmp_path / "out")


def test_runs_without_a_common_question_keep_their_own_rates(tmp_path: Path) -> None:
    files = [_write(tmp_path / f"{q}.jsonl", [_medusa(q, 2.0)]) for q in (1, 81)]
    rows = pd.concat([read_answer_file(name, file) for name, file in zip("ab", files, strict=True)])
    assert (runs_table(rows)["tokens_per_second"] == 40 / 3).all()
    (pair,) = pairs_table(rows).to_dict("records")
    assert (pair["questions"], math.isnan(pair["times_as_fast"])) == (0, True)


def test_a_run_of_no_tokens_has_no_rate(tmp_path: Path) -> None:
    lines = [_medusa(1, 2.0), _medusa(1, 2.0, new_tokens=[0, 0])]
    files = [_write(tmp_path / f"{i}.jsonl", [line]) for i, line in enumerate(lines)]
    rows = pd.concat([read_answer_file(name, file) for name, file in zip("ab", files, strict=True)])
    assert list(runs_table(rows)["tokens_per_second"].isna()) == [False, True]
    (pair,) = pairs_table(rows).to_dict("records")
    assert (pair["questions"], math.isnan(pair["times_as_fast"])) == (1, True)


def test_text_that_is_no_unicode_is_a_row(tmp_path: Path) -> None:
    found = read_answer_file(
        "a", _write(tmp_path / "a.jsonl", [_medusa(1, 2.0, turns=["\ud800", "b"])])
    )
    assert found["text_sha256"].nunique() == 2
