"""What jobs are given is narrow: a change re-runs only what it can change."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.commands.options import parse_arms
from harness.errors import HarnessError
from harness.experiment.arms import parse_arm
from harness.experiment.config import Experiment, parse_experiment
from harness.experiment.folder import Folder
from harness.experiment.plan.methods import Arms
from harness.experiment.plan.questions import Questions
from harness.experiment.plan.sessions import Sessions
from harness.experiment.plan.targets import Targets
from harness.experiment.steps import Freeze
from harness.files import parsed
from harness.measure.prepare import check_methods
from harness.models import ModelSpec
from methods import METHODS
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
        for given in (arms.checked_json("mini"), arms.swept_json("mini")):
            check_methods(parse_arms(given), tmp_path / "out.json")

    checked()  # control
    checked(sweeps={"firp": [{"seed": 1, "seconds": 2}]})  # of a training, no settings
    tried = {"firp": {"tries": [{"learning_rate": 0.01}, {"learning_rte": 0.01}]}}
    for change in (
        {"methods": SMOKE["methods"] | tried},
        {"variants": {"one": {"of": "chimera", "learning_rte": 1}}},
        {"sweeps": {"firp": [{"learning_rate": 0.01}, {"learning_rte": 0.01}]}},
    ):
        with pytest.raises(HarnessError, match="learning_rte"):
            checked(**change)


MINI = ModelSpec(path=str(ROOT / "workflows/resources/mini-target"))


@pytest.mark.parametrize(
    ("arm", "fitting", "other", "said"),
    [
        ("firp", {"entry_layers": [5]}, {"entry_layers": [6]}, "expected below 6"),
        ("firp", {}, {"tries": [{}, {"entry_layers": [1, 7]}]}, "expected below 6"),
        ("self_speculative", {"skip_set": "exit:5"}, {"skip_set": "exit:6"}, "a layer below 6"),
        ("self_speculative", {}, {"skip_set": "llama-2-13b-chat"}, "layers below 6"),
    ],
)
def test_settings_that_a_target_cannot_have_are_refused_first(
    tmp_path: Path, arm: str, fitting: dict[str, Any], other: dict[str, Any], said: str
) -> None:
    def checked(settings: dict[str, Any], spec: ModelSpec | None = MINI) -> None:
        check_methods({arm: parse_arm(arm, settings)}, tmp_path / "out.json", spec)

    checked(fitting)  # control
    checked(other, None)  # control: where no target is known
    with pytest.raises(HarnessError, match=said):
        checked(other)


def test_targets_that_the_medusa_package_cannot_run_are_refused_first(tmp_path: Path) -> None:
    arms = {"medusa_llm": parse_arm("medusa_llm", {})}
    check_methods(arms, tmp_path / "out.json", MINI)  # control
    config = json.loads((Path(str(MINI.path)) / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"num_key_value_heads": 1}))
    with pytest.raises(HarnessError, match="with 1 key heads of"):
        check_methods(arms, tmp_path / "out.json", ModelSpec(path=str(tmp_path)))


def test_only_what_is_trained_is_swept() -> None:
    sweep = {"eagle": [{"learning_rate": 0.01}]}
    assert "eagle" not in SMOKE["methods"]
    assert parse_experiment(SMOKE | {"sweeps": sweep}).sweeps == sweep
    with pytest.raises(HarnessError, match="sweeps: 'lookahead', expected an arm that learns"):
        parse_experiment(SMOKE | {"sweeps": {"lookahead": [{}]}})
    with pytest.raises(HarnessError, match=r"sweeps.firp.1: seconds: .* found '60s'"):
        parse_experiment(SMOKE | {"sweeps": {"firp": [{"seconds": 60}, {"seconds": "60s"}]}})


def test_sessions_of_a_model_depend_on_its_own_arms_alone() -> None:
    def of(model: str, **change: Any) -> tuple[str, list[Path]]:
        arms = Arms(parse_experiment(SMOKE | change), Folder(Path("results/smoke")))
        return arms.checked_json(model), arms.prepared_files(model)

    models = SMOKE["models"] | {"other": SMOKE["models"]["mini"]}
    own = {**models, "other": models["other"] | {"methods": {"firp": {"batch": 5}}}}
    assert of("mini", models=own) == of("mini", models=models)
    assert of("other", models=own) != of("other", models=models), "control"
    sizes = SMOKE["draft_sizes"]
    assert "hydra" not in SMOKE["methods"]
    curve = {"draft_sizes": sizes | {"methods": [*sizes["methods"], "hydra"]}}
    assert of("mini", **curve) == of("mini"), "an arm of the curve alone is none of sessions"
    listed = SMOKE["methods"] | {"hydra": {}}
    assert of("mini", methods=listed)[1] != of("mini")[1], "control"


def test_how_steps_run_is_no_input_of_answers() -> None:
    def given(**change: str) -> tuple[str, ...]:
        targets = _targets({"mini": SMOKE["models"]["mini"] | change})
        forms = [targets.training_json("mini", searches) for searches in (False, True)]
        return targets.answers_json("mini"), *forms

    assert {name for name, entry in METHODS.items() if entry.searches} == {"self_speculative"}
    eager, static = given(execution="eager"), given(execution="static")
    assert eager[:2] == static[:2]
    assert eager[2] != static[2]
    assert given(attention="eager")[0] != given()[0], "control"


def test_how_steps_run_is_checked_before_long_jobs() -> None:
    model = {"mini": SMOKE["models"]["mini"] | {"execution": "static"}}
    assert '"execution": "static"' in _targets(model).checked_option("mini")


def test_a_folder_of_data_that_no_source_reads_is_refused() -> None:
    with pytest.raises(HarnessError, match="data: elsewhere, but no source names a `file`"):
        _questions({"data": "elsewhere"})


def test_shards_are_told_where_test_prompts_are_frozen() -> None:
    questions = _questions({"shards": 4})
    assert json.loads(questions.freeze_json("mini", "test"))[0]["shards"] == 4
    assert "shards" not in json.loads(questions.freeze_json("mini", "tune"))[0]


def test_shipped_parts_fit_the_shipped_target_alone() -> None:
    change = {"target": "rebuild", "parts": "shipped"}
    model = SMOKE["models"]["mini"] | {"parts": "workflows/resources/mini-parts"}
    with pytest.raises(HarnessError, match="target: rebuild, but shipped parts fit"):
        parse_experiment(SMOKE | change | {"models": {"mini": model}})
    parse_experiment(SMOKE | {"target": "rebuild"})  # control


def test_every_key_of_the_schema_says_what_it_means() -> None:
    schema = Experiment.model_json_schema()
    keys = schema["properties"]
    assert [key for key in keys if "description" not in keys[key]] == []
    assert set(schema["required"]) == {
        *("experiment", "title", "stand_in", "models", "datasets", "methods"),
    }
    assert schema["additionalProperties"] is False
