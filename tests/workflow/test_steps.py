"""What jobs are given is narrow: a change re-runs only what it can change."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.commands.options import parse_arms
from harness.errors import HarnessError
from harness.experiment.config import Experiment, parse_experiment
from harness.experiment.folder import Folder
from harness.experiment.plan.methods import Arms
from harness.experiment.plan.questions import Questions
from harness.experiment.plan.sessions import Sessions
from harness.experiment.plan.targets import Targets
from harness.experiment.steps import Freeze
from harness.files import parsed
from harness.measure.prepare import check_methods
from tests import ROOT

LIMITS = {"max_new_tokens": 8, "longest_prompt": 99}
SMOKE = yaml.safe_load((ROOT / "workflows/config/smoke.yaml").read_text())


def given(change: dict[str, Any]) -> dict[str, str]:
    """What each step is given of smoke, some top-level keys of it changed."""
    config = copy.deepcopy(SMOKE) | change
    experiment = parse_experiment(config)
    place = (experiment, Folder(Path("results") / experiment.experiment))
    arms, sessions = Arms(*place), Sessions(experiment)
    return {
        "freeze": Questions(*place).freeze_json("mini", "tune"),
        "model": Targets(*place).load_json("mini"),
        "train": arms.training_json("mini", "firp"),
        "tune": arms.tuning_json("mini", "firp"),
        "session": sessions.json(sessions.labels("mini", "xsum", "1")),
        "arms": arms.json("mini"),
        "tables": str(sessions.outline),
    }


def changed(change: dict[str, Any]) -> set[str]:
    before, after = given({}), given(change)
    return {step for step in before if before[step] != after[step]}


def test_a_change_reaches_only_the_steps_that_it_can_change() -> None:
    methods = SMOKE["methods"]
    assert changed({}) == set()
    assert changed({"title": "another caption"}) == {"tables"}
    assert changed({"engine": {"rows": [1], "contexts": [8]}}) == set()
    assert changed({"seed": 1}) == {"session", "tables"}
    assert changed({"warmup": 2}) == {"session", "tables"}
    firp = methods["firp"]
    assert changed({"methods": methods | {"firp": firp | {"drafts": [4]}}}) == {"tune", "arms"}
    batch = {"methods": methods | {"firp": firp | {"batch": 5}}}
    assert changed(batch) == {"train", "tune", "arms"}
    variant = {"variants": {"blind": {"of": "firp", "steps_see_earlier": False}}}
    assert changed(variant) == {"arms", "tables"}


def test_what_is_given_is_read_back_as_it_was() -> None:
    steps = parsed(list[Freeze], json.loads(given({})["freeze"]), "splits")
    assert [step.split.dataset for step in steps] == ["mtbench", "gsm8k", "xsum"]
    assert [bool(step.first_turns) for step in steps] == [True, False, False]
    assert steps[0].cap == 24


def _questions(change: dict[str, Any]) -> Questions:
    return Questions(parse_experiment(SMOKE | change), Folder(Path("results/smoke")))


def _targets(models: dict[str, Any]) -> Targets:
    experiment = parse_experiment(SMOKE | {"models": models})
    return Targets(experiment, Folder(Path("results/smoke")))


def test_a_target_of_a_gguf_file_is_kept_for_all_experiments() -> None:
    wheel = {"package": "smol", "version": "1", "file": "a.gguf", "sha256": "0" * 64}
    targets = _targets({"smol": {"gguf": wheel}})
    (record,) = targets.files("smol")
    folder = Path(record).parent
    assert (folder.parent, record) == (Path("results/targets"), f"{folder}/record.json")
    assert json.loads(targets.load_json("smol"))["path"] == str(folder)
    assert targets.gguf(folder.name).given == wheel
    other = _targets({"smol": {"gguf": wheel | {"file": "b.gguf"}}})
    assert other.files("smol") != [record]
    with pytest.raises(HarnessError, match="expected either path"):
        _targets({"smol": {"gguf": wheel | {"path": "x"}}})


def test_records_in_the_data_folder_take_the_place_of_the_hub_s(tmp_path: Path) -> None:
    hub = {"hub": "some/set", "split": "test", "file": "set.jsonl", "skip": 3, "every": 2}
    sets = {"gsm8k": {"splits": dict.fromkeys(("train", "tune", "test"), hub), **LIMITS}}
    assert _questions({"datasets": sets}).frozen_from("test") == [], "control: all from the hub"
    given = {"datasets": sets, "data": str(tmp_path)}
    with pytest.raises(
        HarnessError, match=r"data: no file .*set\.jsonl, expected records of some/"
    ):
        _questions(given)
    (tmp_path / "set.jsonl").touch()
    questions = _questions(given)
    assert questions.frozen_from("test") == [f"{tmp_path}/set.jsonl"]
    (step,) = json.loads(questions.freeze_json("mini", "test"))
    assert step["split"]["source"] == {"path": f"{tmp_path}/set.jsonl", "skip": 3, "every": 2}


def test_a_config_says_what_is_other_than_in_the_one_that_it_extends() -> None:
    own = {
        "extends": "smoke",
        "sessions": 4,
        "methods": {"firp": {"drafts": [5]}, "lookahead": None},
    }
    experiment = parse_experiment(own)
    assert experiment.sessions == 4
    firp = {**SMOKE["methods"]["firp"], "drafts": [5]}
    assert experiment.methods == SMOKE["methods"] | {"firp": firp, "lookahead": None}
    assert parse_experiment({"extends": "smoke"}) == parse_experiment(SMOKE), "control"


def test_a_set_s_source_is_replaced_by_another_kind() -> None:
    file = {"path": "own.jsonl"}
    splits = {"train": file, "tune": file, "test": file}
    own = {"extends": "smoke", "datasets": {"gsm8k": {"stand_in": None, "splits": splits}}}
    assert parse_experiment(own).datasets["gsm8k"].stand_in is None
    del own["datasets"]["gsm8k"]["splits"]
    with pytest.raises(HarnessError, match="none, expected exactly one of stand_in, splits"):
        parse_experiment(own)


def test_settings_are_checked_first_with_all_that_they_try(tmp_path: Path) -> None:
    def checked(**change: Any) -> None:
        experiment = parse_experiment(SMOKE | change)
        arms = Arms(experiment, Folder(Path("results/smoke")))
        check_methods([parse_arms(each) for each in arms.checked_json()], tmp_path / "out.json")

    checked()  # control
    tried = {"firp": {"tries": [{"learning_rate": 0.01}, {"learning_rte": 0.01}]}}
    for change in (
        {"methods": SMOKE["methods"] | tried},
        {"variants": {"one": {"of": "chimera", "learning_rte": 1}}},
    ):
        with pytest.raises(HarnessError, match="learning_rte"):
            checked(**change)


def test_only_what_is_trained_is_swept() -> None:
    sweep = {"eagle": [{"learning_rate": 0.01}]}
    assert "eagle" not in SMOKE["methods"]
    assert parse_experiment(SMOKE | {"sweeps": sweep}).sweeps == sweep
    with pytest.raises(HarnessError, match="sweeps: 'lookahead', expected an arm that learns"):
        parse_experiment(SMOKE | {"sweeps": {"lookahead": [{}]}})


def test_every_key_of_the_schema_says_what_it_means() -> None:
    schema = Experiment.model_json_schema()
    keys = schema["properties"]
    assert [key for key in keys if "description" not in keys[key]] == []
    assert set(schema["required"]) == {
        *("experiment", "title", "stand_in", "models", "datasets", "methods"),
    }
    assert schema["additionalProperties"] is False
