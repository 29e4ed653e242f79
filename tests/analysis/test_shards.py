"""Sessions in shards: the same tables as whole ones, and no shard missing or there twice."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from harness.analysis.rows import load_rows
from harness.analysis.tables import write_tables
from harness.commands.keep import keep, unpack
from harness.errors import HarnessError
from harness.experiment.folder import Folder
from harness.files import read_json, read_jsonl, write_json, write_jsonl
from tests.analysis.test_tables import _write_experiment

SHARDS = 2


def _label(row: dict, shard: int) -> dict:
    return row | {"shard": shard, "shards": SHARDS}


def _sharded(root: Path) -> dict:
    """An experiment whose sessions are split by question."""
    whole = _write_experiment(root, {"small": 2.0})
    for file in Folder(root).row_files(whole):
        rows = read_jsonl(file)
        questions = sorted({row["question_id"] for row in rows})
        for shard in range(1, SHARDS + 1):
            mine = questions[shard - 1 :: SHARDS]
            out = file.with_suffix("") / f"shard-{shard}.jsonl"
            write_jsonl(out, [_label(row, shard) for row in rows if row["question_id"] in mine])
            shutil.copy(file.with_suffix(".provenance.json"), out.with_suffix(".provenance.json"))
        file.unlink()
        file.with_suffix(".provenance.json").unlink()
    return whole | {"shards": SHARDS}


def test_shards_give_the_tables_of_whole_sessions(tmp_path: Path) -> None:
    whole, split = tmp_path / "whole", tmp_path / "split"
    write_tables(_write_experiment(whole, {"small": 2.0}), whole)
    write_tables(_sharded(split), split)
    for file in sorted((whole / "tables").glob("*.csv")):
        same = [pd.read_csv(root / "tables" / file.name) for root in (whole, split)]
        if file.name == "summary.csv":
            hashes = [frame.pop("rows_sha256").str.split().str.len().iloc[0] for frame in same]
            assert hashes == [2, 4]
        pd.testing.assert_frame_equal(*same, obj=file.name)
    facts = read_json(split / "tables/facts.json")
    told = [check["detail"] for check in facts["checklist"]]
    assert "2 a shard, 2 shards a session" in told


def test_kept_shards_give_their_tables_again(tmp_path: Path) -> None:
    root, again = tmp_path / "root", tmp_path / "again"
    experiment = _sharded(root)
    write_tables(experiment, root)
    earlier = root / "runs/small/gsm8k/session-9.jsonl"  # of a config with more sessions
    for file in (earlier, earlier.with_suffix(".provenance.json")):
        file.write_text("{}\n")
    keep(root, tmp_path / "kept", prompts=True)
    unpack(tmp_path / "kept", again)
    assert not list(again.rglob("session-9*"))
    before = (again / "tables/summary.csv").read_text()
    write_tables(experiment, again)
    assert (again / "tables/summary.csv").read_text() == before


def _refused(root: Path, experiment: dict) -> str:
    with pytest.raises(HarnessError) as caught:
        load_rows(Folder(root).row_files(experiment))
    return str(caught.value)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    experiment = _sharded(tmp_path)
    gone = tmp_path / "runs/small/gsm8k/session-2/shard-1.jsonl"
    gone.unlink()
    assert _refused(tmp_path, experiment) == f"{gone}: no such file"
    there = [file for file in Folder(tmp_path).row_files(experiment) if file != gone]
    with pytest.raises(HarnessError, match="small/gsm8k, session 2: no rows of shard 1"):
        load_rows(there)


def test_a_shard_in_another_s_place_is_named(tmp_path: Path) -> None:
    experiment = _sharded(tmp_path)
    first, second = Folder(tmp_path).row_files(experiment)[:2]
    shutil.copy(first, second)
    assert _refused(tmp_path, experiment) == f"{second}: a row of shard 1, expected its own"
    rows = [_label(row, 2) for row in read_jsonl(first)]
    second.write_text("".join(json.dumps(row) + "\n" for row in rows))
    expected = "small/gsm8k, session 1: prompt gsm8k/0 is in shards 1 and 2"
    assert _refused(tmp_path, experiment) == expected


def test_shards_of_another_split_are_refused(tmp_path: Path) -> None:
    experiment = _sharded(tmp_path)
    file = Folder(tmp_path).row_files(experiment)[0]
    write_jsonl(file, [row | {"shards": 3} for row in read_jsonl(file)])
    expected = "small/gsm8k, session 1: split into [2, 3] shards, expected one number"
    assert _refused(tmp_path, experiment) == expected


def test_a_shard_of_another_machine_or_code_is_refused(tmp_path: Path) -> None:
    experiment = _sharded(tmp_path)
    file = Folder(tmp_path).row_files(experiment)[1]
    provenance = read_json(file.with_suffix(".provenance.json"))
    write_json(file.with_suffix(".provenance.json"), provenance | {"sources": "y"})
    with pytest.raises(HarnessError, match="sessions differ in sources"):
        write_tables(experiment, tmp_path)
    write_jsonl(file, [row | {"fingerprint": "another"} for row in read_jsonl(file)])
    assert _refused(tmp_path, experiment) == "small/gsm8k: rows of 2 machines, expected 1"
