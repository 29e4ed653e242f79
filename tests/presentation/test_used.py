"""The setting beside an arm's name: the tree above all."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from harness.analysis.preparation import Prepared
from harness.experiment.folder import Folder
from harness.files import write_json
from harness.presentation.used import used
from harness.presentation.wording import percent, shown_names

TREE = {"policy": "best_first", "drafts": 5, "depth": 4, "paths": []}


@pytest.mark.parametrize(
    ("arm", "method", "setting", "said"),
    [
        ("medusa", "medusa", TREE, "best-first tree, 5 drafts"),
        ("medusa_typical", "medusa", TREE, "best-first tree, 5 drafts"),
        ("medusa_llm", "medusa", TREE, "the package's tree, all combinations"),
        ("firp", "firp", TREE | {"passes": "two_pass"}, "best-first tree, 5 drafts, two passes"),
        ("hf_generate", "hf_generate", {"cache": "static"}, "static cache"),
        ("hf_assisted", "hf_assisted", {"drafts": 3}, "chain of 3"),
        ("autoregressive", "none", {}, ""),
    ],
)
def test_in_a_few_words(
    tmp_path: Path, arm: str, method: str, setting: dict[str, Any], said: str
) -> None:
    write_json(tmp_path / "methods/m" / method / "setting.json", setting)
    assert used(Prepared(Folder(tmp_path), {arm: method}), "m", arm, arm) == said


def test_a_variant_is_worded_as_its_method(tmp_path: Path) -> None:
    write_json(tmp_path / "methods/m/medusa/setting.json", TREE)
    prepared = Prepared(Folder(tmp_path), {"mine": "medusa"})
    assert used(prepared, "m", "mine", "medusa_template") == "a published tree of Medusa's"
    assert used(prepared, "m", "mine", "medusa") == "best-first tree, 5 drafts", "control"


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"medusa_head": "shared"}, "the target's own head"),
        ({"training_steps": 66}, "66 updates in training"),
        ({"points": 10}, "the best of 10 points searched"),
    ],
)
def test_what_a_training_wrote_is_told(tmp_path: Path, config: dict[str, Any], said: str) -> None:
    folder = tmp_path / "methods/m/medusa"
    write_json(folder / "setting.json", TREE)
    write_json(folder / "config.json", config)
    words = used(Prepared(Folder(tmp_path), {}), "m", "medusa", "medusa")
    assert words == f"best-first tree, 5 drafts, {said}"


def test_arms_that_are_not_lossless_are_marked_so() -> None:
    arms = pd.DataFrame({"method": ["loose", "medusa_typical", "firp"], "model": "m"})
    marked = shown_names(arms.assign(lossless=[False, False, True]))
    assert marked == ["loose (lossy)", "Medusa, typical (lossy)", "FIRP"]
    assert shown_names(arms)[0] == "loose", "control: where nothing is known"


def test_less_than_all_is_never_worded_as_all() -> None:
    assert [percent(share) for share in (1.0, 0.99999, 0.57)] == [100.0, 99.9, 57.0]
