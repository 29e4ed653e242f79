"""What jobs are given is narrow: a change re-runs only what it can change."""

import copy
import json
from pathlib import Path
from typing import Any

import yaml

from harness.experiment.config import Experiment, parse_experiment
from harness.experiment.folder import Folder
from harness.experiment.plan import Plan
from harness.experiment.steps import Freeze
from harness.files import parsed
from tests.workflow.test_smoke import ROOT

SMOKE = yaml.safe_load((ROOT / "workflows/config/smoke.yaml").read_text())


def given(change: dict[str, Any]) -> dict[str, str]:
    """What each step is given of smoke, some top-level keys of it changed."""
    config = copy.deepcopy(SMOKE) | change
    experiment = parse_experiment(config)
    plan = Plan(experiment, Folder(Path("results") / experiment.experiment))
    return {
        "freeze": plan.freeze_json("mini", "tune"),
        "model": plan.model_json("mini"),
        "train": plan.training_json("mini", "firp"),
        "tune": plan.tuning_json("mini", "firp"),
        "session": plan.session_json(plan.labels("mini", "xsum", "1")),
        "arms": plan.arms_json("mini"),
        "tables": str(plan.outline),
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


def test_every_key_of_the_schema_says_what_it_means() -> None:
    schema = Experiment.model_json_schema()
    keys = schema["properties"]
    assert [key for key in keys if "description" not in keys[key]] == []
    assert set(schema["required"]) == {
        *("experiment", "title", "stand_in", "models", "datasets", "methods"),
    }
    assert schema["additionalProperties"] is False
