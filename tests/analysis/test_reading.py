"""The tables read each file once, and take from the provenance what is behind an arm."""

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from harness.analysis.tables import write_tables
from harness.commands.keep import unpack
from harness.experiment.folder import Folder
from harness.files import read_json, write_json
from tests.analysis.test_tables import _write_experiment
from tests.workflow.test_smoke import ROOT

_opened: Counter[str] = Counter()


def _note(event: str, given: tuple[Any, ...]) -> None:
    if event == "open" and isinstance(given[0], str | Path):
        _opened[str(given[0])] += 1


sys.addaudithook(_note)


def test_each_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unpack(ROOT / "results/reference/mini", tmp_path)
    outline = json.loads((tmp_path / "tables/facts.json").read_text())["experiment"]
    rows = {str(file) for file in Folder(tmp_path).row_files(outline)}
    inputs = {str(file) for file in tmp_path.rglob("*.*") if file.parent.name != "tables"}

    def reads() -> dict[str, int]:
        """Of each file that was read more than once; rows are also hashed."""
        _opened.clear()
        write_tables(outline, tmp_path)
        counts = {file: _opened[file] - (file in rows) for file in inputs}
        assert sum(count > 0 for count in counts.values()) > 2 * len(rows), "and it was counted"
        return {file: count for file, count in counts.items() if count > 1}

    assert reads() == {}
    monkeypatch.setattr(Folder, "_once", lambda self, how, file, read: read(file))
    assert str(tmp_path / "profile/mini.csv") in reads(), "control: nothing is held"


def _fast(root: Path, told: dict[str, dict[str, object]]) -> pd.Series:
    """The summary's line of ``fast``, by a provenance that holds ``told``."""
    outline = _write_experiment(root, {"small": 2.0})
    for file in root.glob("runs/**/*.provenance.json"):
        write_json(file, read_json(file) | told)
    write_tables(outline, root)
    return pd.read_csv(root / "tables/summary.csv").set_index("method").loc["fast"]


def test_an_arm_has_the_seconds_of_whose_training_its_provenance_names(tmp_path: Path) -> None:
    for name, seconds in (("fast", 1.0), ("slow", 5.0)):
        folder = tmp_path / "methods/small" / name
        write_json(folder / "config.json", {"training_seconds": seconds})
        write_json(folder / "spent.json", {"tuning_seconds": 10.0})
    arms = dict.fromkeys(("autoregressive", "autoregressive_again", "fast"), False)
    uses = {arm: "slow" if arm == "fast" else arm for arm in arms}
    told = {"uses": uses, "trained": arms | {"fast": True}, "tuned": arms}
    assert _fast(tmp_path, {})["training_seconds"] == 1.0, "control: it does not say"
    fast = _fast(tmp_path, told)
    assert fast["training_seconds"] == 5.0
    assert json.loads((tmp_path / "tables/facts.json").read_text())["uses"]["fast"] == "slow"
    # 1/20 s saved on a token of 1/20 s, at twice the speed; nothing was tuned
    assert fast["break_even_tokens"] == pytest.approx(5 / (1 / 20 - 1 / 40))
