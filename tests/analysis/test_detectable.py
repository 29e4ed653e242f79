"""The smallest difference that can be told, and slowdowns planted in re-sampled A/A rows."""

import math

import numpy as np
import pandas as pd
import pytest

from harness.analysis.detectable import detectable
from harness.analysis.rows import load_rows
from harness.analysis.statistics import LogRatio
from harness.commands.keep import unpack
from harness.experiment.folder import Folder
from harness.files import read_json
from tests.workflow.test_smoke import ROOT


def test_four_of_five_runs_find_a_detectable_difference() -> None:
    found = LogRatio(0.0, 0.01, 0.0, 5, 24)
    rng = np.random.default_rng(0)
    sessions = rng.normal(found.detectable, 0.01 * math.sqrt(5), (4000, 5))
    runs = [LogRatio(s.mean(), s.std(ddof=1) / math.sqrt(5), 0.0, 5, 24) for s in sessions]
    # the t of the power term is a little too careful at few sessions
    assert 0.78 <= np.mean([run.p_value < 0.05 for run in runs]) <= 0.9
    assert math.isnan(LogRatio(0.0, math.nan, 0.01, 1, 24).detectable)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Of the committed run of mini."""
    root = tmp_path_factory.mktemp("mini") / "results"
    unpack(ROOT / "results/reference/mini", root)
    experiment = read_json(root / "tables/facts.json")["experiment"]
    return detectable(load_rows(Folder(root).row_files(experiment))[0])


def test_twice_the_detectable_slowdown_is_told_and_none_is_not(table: pd.DataFrame) -> None:
    assert len(table) == 3
    assert (table["told_slowed"] >= 0.9).all()
    assert (table["told_unslowed"] <= 0.1).all()


def test_without_a_second_autoregressive_arm_nothing_is_told() -> None:
    columns = ["model", "dataset", "session", "question_id", "arm", "decode_seconds"]
    rows = pd.DataFrame(
        [("m", "d", s, q, "autoregressive", 1.0) for s in (1, 2) for q in "ab"], columns=columns
    )
    assert detectable(rows.assign(decode_tokens=10)).empty
