"""Committed runs: their tables follow from their rows."""

import gzip
import json
from pathlib import Path

import pytest

from harness.analysis.tables import write_tables
from harness.commands.keep import keep, unpack
from harness.errors import HarnessError
from tests.workflow.test_smoke import ROOT

KEPT = sorted((ROOT / "results/reference").glob("*/tables/facts.json"))
# Rows of data that may not be passed on are kept without prompts: no tables can be made of them.
WHOLE = [facts.parents[1] for facts in KEPT if any(facts.parents[1].glob("prompts/*/*.gz"))]


@pytest.mark.parametrize("kept", WHOLE, ids=lambda path: path.name)
def test_kept_rows_give_the_kept_tables(kept: Path, tmp_path: Path) -> None:
    root = tmp_path / "results"
    unpack(kept, root)
    before = {file.name: file.read_text() for file in sorted(root.glob("tables/*"))}
    experiment = json.loads(before["facts.json"])["experiment"]
    write_tables(experiment, root)
    for name, text in before.items():
        assert (root / "tables" / name).read_text() == text, name
    keep(root, tmp_path / "again", prompts=True)
    for file in kept.rglob("*"):
        if file.is_file():
            assert _content(tmp_path / "again" / file.relative_to(kept)) == _content(file)


def _content(file: Path) -> bytes:
    """What a file holds; compressed bytes differ with the zlib that made them."""
    return gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()


def test_there_is_a_kept_run_of_mini() -> None:
    assert "mini" in {path.name for path in WHOLE}


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="exists, expected a new folder"):
        unpack(ROOT / "results/reference/mini", tmp_path / "root")
        keep(tmp_path / "root", tmp_path, prompts=False)
    with pytest.raises(HarnessError, match="nothing: no tables, expected the folder of a finished"):
        keep(tmp_path / "nothing", tmp_path / "out", prompts=False)
