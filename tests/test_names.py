"""Names and texts of a config reach paths and shells unharmed, or are refused in one line."""

import copy
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import TypeAdapter, ValidationError

from harness.__main__ import main
from harness.errors import HarnessError
from harness.experiment.config import parse_experiment, whole
from harness.files import Name
from tests.workflow.test_smoke import ROOT, copy_project, snakemake

MINI = whole(yaml.safe_load((ROOT / "workflows/config/mini-precise.yaml").read_text()))
BAD = (
    *("../away", "/etc", ".", "..", ".hidden", "-rf", "a b", "a/b", "a'b", 'a"b', "a;b", "a|b"),
    *("$(touch canary)", "`touch canary`", "a\n", "a\nb", "", "é", "a" * 65, "{wildcards}", "a*"),
)
# What stands unquoted in shell commands: numbers, and paths made of names.
PLAIN = set("torch_threads seed budget cap largest timed profiled records first".split())
PLAIN |= {"sampling", "target"}  # quoted where it is made
# Inputs whose paths are made of names, which are checked.
PLAIN |= set("prompts first_turns warmup train tune forwards measured".split())


def renamed(where: str, name: str) -> dict[str, Any]:
    """mini with ``name`` as its experiment, or in place of the first key of a part."""
    config = copy.deepcopy(MINI)
    config.pop("engine")  # names models too
    if where == "experiment":
        config["experiment"] = name
    elif where == "draft_sizes":
        config["draft_sizes"]["methods"][0] = name
    elif where == "models.methods":
        config["models"]["mini"]["methods"] = {name: {}}
    elif where == "variants":
        config["variants"][name] = {"of": "firp", "steps_see_earlier": False}
    else:
        config[where][name] = config[where].pop(list(config[where])[-1])
    return config


@pytest.mark.parametrize(
    "where",
    "experiment models datasets methods variants sweeps draft_sizes models.methods".split(),
)
def test_no_bad_name_passes(where: str) -> None:
    parse_experiment(MINI)
    for name in BAD:
        said = refused(renamed(where, name))
        assert "String should " in said, name
        assert said.isprintable(), name
    good = renamed(where, "Good-name_2")
    if where in ("experiment", "models", "variants"):
        parse_experiment(good)  # control
    else:  # control: the name is one, but nothing is called so
        assert "'Good-name_2'" in refused(good)
        assert "String should " not in refused(good)


def test_the_names_of_folders_that_hold_something_else_are_taken() -> None:
    assert "'reference' is taken" in refused(renamed("experiment", "reference"))


def refused(config: dict[str, Any]) -> str:
    with pytest.raises(HarnessError) as caught:
        parse_experiment(config)
    return str(caught.value)


def test_the_command_line_s_names_are_those_of_a_config() -> None:
    named = TypeAdapter(Name)
    named.validate_python("Good-name_2")
    for name in BAD:
        with pytest.raises(ValidationError):
            named.validate_python(name)


@pytest.mark.parametrize("name", ["../away", "$(touch canary)", "a\nb"])
def test_bad_names_on_the_command_line_end_in_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str
) -> None:
    facts = {"experiment": "x", "models": [name], "datasets": {"xsum": {}}, "methods": []}
    labels = {"experiment": "x", "model": name, "dataset": "xsum", "session": 1}
    options = {"labels": labels, "seed": 1, "max_new_tokens": 2, "warmup": 1}
    files = [f"--{part}={tmp_path / part}" for part in ("prompts", "warmup", "folders", "out")]
    model = ["--model", '{"path": "x"}']
    method = ["--method", name, "--settings", "{}", *model, f"--folder={tmp_path / 'f'}"]
    answers = [f"--{split}-answers={tmp_path / split}" for split in ("train", "tune")]
    for command in (
        ["tables", "--experiment", json.dumps(facts), "--root", str(tmp_path)],
        ["session", *model, "--methods", "{}", "--options", json.dumps(options), *files],
        ["train", *method, *answers],
        ["check", "--methods", json.dumps({name: {}}), "--out", str(tmp_path / "checked.json")],
        ["stand-in", "--dataset", name, "--split=test", "--count=1", f"--out={tmp_path / 's'}"],
    ):
        assert main(command) == 2, command
        shown = capsys.readouterr().err.rstrip("\n").removeprefix("error: ")
        assert shown.replace(name, "NAME").count("\n") == 0, command
        assert name in shown or repr(name)[1:-1] in shown, command
    assert not list(tmp_path.iterdir())


def shell_words(rules: str) -> set[str]:
    """Parameters and inputs that a rules file puts into shell commands unquoted."""
    return set(re.findall(r"\{(?:params|input)\.(\w+)\}", rules))


def test_every_text_of_a_config_is_quoted_in_shell_commands() -> None:
    for file in sorted((ROOT / "workflows/rules").glob("*.smk")):
        assert shell_words(file.read_text()) <= PLAIN, file.name
    assert shell_words('shell: "x --settings {params.settings}"') == {"settings"}, "control"


def test_a_setting_that_is_a_command_is_not_run(tmp_path: Path) -> None:
    """Through the shell of a real rule."""
    folder, canary = tmp_path / "project", tmp_path / "canary"
    copy_project(folder)
    text = f"$(touch {canary})`touch {canary}`'\"'; touch {canary} #"
    config = {**MINI, "methods": {**MINI["methods"], "firp": {"feed": text}}}
    (folder / "own.yaml").write_text(yaml.safe_dump(config))
    done = snakemake(folder, "results/mini-precise/checked/mini.json", "--configfile", "own.yaml")
    assert done.returncode != 0
    said = {one for one in (done.stdout + done.stderr).splitlines() if one.startswith("error:")}
    assert said == {f"error: firp feed: '{text}', expected real or previous"}
    assert not canary.exists()
    subprocess.run(["bash", "-c", f"true {text}"], check=False, capture_output=True)
    assert canary.exists(), "control: unquoted, it runs"
