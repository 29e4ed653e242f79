"""The setting beside an arm's name: the tree above all."""

from pathlib import Path
from typing import Any

import pytest

from harness.analysis.preparation import prepared_as_told
from harness.experiment.folder import Folder
from harness.files import write_json
from harness.presentation.used import used

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
    assert used(prepared_as_told(Folder(tmp_path), None), "m", arm) == said


def test_heads_that_read_the_target_s_matrix_say_so(tmp_path: Path) -> None:
    folder = tmp_path / "methods/m/medusa"
    write_json(folder / "setting.json", TREE)
    write_json(folder / "config.json", {"medusa_head": "shared"})
    said = used(prepared_as_told(Folder(tmp_path), None), "m", "medusa")
    assert said == "best-first tree, 5 drafts, the target's own head"
