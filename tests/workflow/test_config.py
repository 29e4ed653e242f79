"""Bad configuration ends in one clear line, before any job; shipped ones are whole."""

import json
import re
import shlex
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.analysis.ranking import SESSIONS
from harness.experiment.config import whole
from harness.method import parse_settings
from methods import load_method
from tests.workflow.test_smoke import ROOT, SMOKE, copy_project, snakemake

SQUAD = {"max_new_tokens": 4, "longest_prompt": 9}
ONE_OF = "expected exactly one of"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"sessions": 0}, "sessions: Input should be greater than or equal to 1, found 0"),
        ({"shards": 0}, "shards: Input should be greater than or equal to 1, found 0"),
        ({"sessions": "five"}, "sessions: Input should be a valid integer, found 'five'"),
        ({"sesions": 3}, "unknown key 'sesions', expected one of extends, experiment"),
        ({"datasets": {"humaneval": SQUAD}}, f"datasets.humaneval: none, {ONE_OF} stand_in"),
        ({"datasets": {"squad": SQUAD}}, "data set: 'squad', expected one of mtbench"),
        ({"extends": "nope"}, "extends: 'nope', expected one of code-sampling"),
        ({"experiment": "../away"}, "experiment: String should match pattern"),
        ({"device": "tpu"}, "device: String should match pattern"),
        ({"models": {"mini": {"weights": "int4"}}}, "weights: Input should be 'full', 'int8' or"),
        ({"models": {"mini": {"hub": "x"}}}, f"models.mini: path and hub, {ONE_OF} path"),
        ({"models": {"mini": {"methods": {"nope": {}}}}}, "models.mini.methods: 'nope', expected"),
        ({"methods": {"nope": {}}}, "method 'nope': expected one of autoregressive"),
        ({"methods": {"firp": {"of": "medusa"}}}, "methods.firp: 'of', expected it under variants"),
    ],
)
def test_a_bad_key_or_value_is_named(change: dict[str, Any], expected: str) -> None:
    ((key, value),) = change.items()
    done = snakemake(ROOT, "-n", *SMOKE, "--config", f"{key}={json.dumps(value)}")
    assert done.returncode != 0
    assert expected in done.stdout + done.stderr


def test_shards_are_jobs_of_their_own_and_one_shard_is_none() -> None:
    runs = "results/smoke/runs/mini"
    found = {}
    for count in (1, 2):
        done = snakemake(ROOT, "-n", "--forceall", *SMOKE, "--config", f"shards={count}")
        assert done.returncode == 0, done.stderr[-2000:]
        found[count] = set(re.findall(rf"output: {runs}/(\S+)\.jsonl", done.stdout))
    sets = ("mtbench", "gsm8k", "xsum")
    assert found[1] == {f"{name}/session-1" for name in sets}
    assert found[2] == {f"{name}/session-1/shard-{k}" for name in sets for k in (1, 2)}


def test_an_unknown_report_fails_at_once() -> None:
    done = snakemake(ROOT, "-n", "reports/nope.pdf")
    assert done.returncode != 0
    assert "MissingRuleException" in done.stdout + done.stderr


@pytest.mark.parametrize("name", sorted(p.name for p in (ROOT / "workflows/config").glob("*.yaml")))
def test_every_shipped_config_is_valid(name: str) -> None:
    done = snakemake(ROOT, "--lint", "--configfile", f"workflows/config/{name}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert Path(ROOT / "workflows/config" / name).read_text().startswith("#")


def _config(name: str) -> dict[str, Any]:
    return whole(yaml.safe_load((ROOT / f"workflows/config/{name}.yaml").read_text()))


def test_a_config_that_extends_another_gets_nothing_of_mini(tmp_path: Path) -> None:
    config = tmp_path / "own.yaml"
    config.write_text("extends: smoke\nsessions: 2\n")
    done = snakemake(ROOT, "all", "-n", "--forceall", "--configfile", str(config))
    assert done.returncode == 0, done.stderr[-2000:]
    assert "results/smoke/runs" in done.stdout
    assert "results/mini/" not in done.stdout


PAPER = ("all", "-n", "--configfile", "workflows/config/paper.yaml")


def test_the_paper_s_experiment_is_planned_whole_and_names_nothing_of_mini() -> None:
    done = snakemake(ROOT, *PAPER, "--forceall", "--printshellcmds")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    told = done.stdout + done.stderr
    jobs = Counter(re.findall(r"^(?:local)?rule (\w+):", told, re.M))
    assert jobs["session"] == 30  # two models, three sets, five sessions
    # FIRP twice, Medusa, Hydra twice, EAGLE, Chimera, skip sets, the given draft model
    assert jobs["train_method"] == 2 * 9
    assert "stand_in" not in jobs
    assert "pretrain_target" not in jobs
    for word in ("mini-target", "stand_ins/", '"path"'):
        assert word not in told, word
    assert "meta-llama/Llama-2-13b-chat-hf" in told, "control: commands are shown"
    checks = [shlex.split(line) for line in told.splitlines() if " check --methods " in line]
    found = [[json.loads(word) for word in words if word.startswith("{")] for words in checks]
    by_model = {model["hub"]: methods for methods, model in found}
    llama = by_model.pop("meta-llama/Llama-2-13b-chat-hf")
    (vicuna,) = by_model.values()
    assert llama.pop("self_speculative")["skip_set"] == "llama-2-13b-chat"
    assert "skip_set" not in vicuna.pop("self_speculative")
    assert llama["firp"] == vicuna["firp"]


def test_the_paper_s_experiment_with_drawn_tokens_takes_the_parts_of_the_greedy_one(
    tmp_path: Path,
) -> None:
    told = ("all", "-n", "--forceall", "--configfile", "workflows/config/paper-sampling.yaml")
    done = snakemake(ROOT, *told)
    assert done.returncode != 0, "control: nothing is planned before they are collected"
    assert "results/paper/parts/llama-2-chat-13b/record.json" in done.stdout + done.stderr
    (tmp_path / "record.json").write_text("{}")
    own = tmp_path / "own.yaml"
    models = {name: {"parts": str(tmp_path)} for name in ("llama-2-chat-13b", "vicuna-13b")}
    own.write_text(yaml.safe_dump({"models": models}))
    done = snakemake(ROOT, *told, str(own), "--printshellcmds")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    jobs = Counter(re.findall(r"^(?:local)?rule (\w+):", done.stdout + done.stderr, re.M))
    assert jobs["session"] == 30
    assert "train_method" not in jobs
    tunings = re.findall(r"harness \S+ \S+ tune (.+)", done.stdout)
    assert len(tunings) > 20
    assert all('--sampling \'{"seed": 0, "temperature": 0.7' in command for command in tunings)


@pytest.mark.parametrize("name", ["paper", "paper-7b"])
def test_the_settings_of_real_targets_are_their_methods(name: str) -> None:
    """And FIRP's last pseudo state passes half of the layers, which only the target knows."""
    config = _config(name)
    layers = {"paper": 40, "paper-7b": 32}[name]
    for model in config["models"].values():
        for method, common in config["methods"].items():
            given = {**(common or {}), **model.get("methods", {}).get(method, {})}
            settings = parse_settings(method, load_method(method), given)
            if method == "firp":
                tried = [own.get("entry_layers", settings.entry_layers) for own in settings.tries]
                assert {entries[0] for entries in tried} == {layers // 8, layers // 4, layers // 2}
                assert {len(entries) for entries in tried} == {3, 4}
        assert re.fullmatch("[0-9a-f]{40}", model["revision"])


def test_the_smaller_targets_get_the_larger_ones_experiment() -> None:
    large, small = _config("paper"), _config("paper-7b")
    for config in (large, small):
        for key in ("experiment", "title", "models"):
            assert config.pop(key) is not None
        firp = config["methods"]["firp"]
        assert len(firp["tries"]) == len(config["methods"]["medusa"]["tries"]) == 6
        for settings in (firp, *firp["tries"]):
            settings.pop("entry_layers", None)
        config["methods"]["lookahead"]["sizes"].sort()
    assert large == small


def test_mini_precise_is_mini_with_more_of_everything() -> None:
    """The same target, splits and settings; more arms, questions and sessions, and trained anew."""
    mini, precise = _config("mini"), _config("mini-precise")
    assert precise["sessions"] > mini["sessions"] >= SESSIONS
    parts = _config("mini-parts")["datasets"]
    for name, spec in mini["datasets"].items():
        for split in ("train", "tune"):
            assert parts[name]["stand_in"][split] == spec["stand_in"][split], "as what is shipped"
        large, small = precise["datasets"][name], spec
        assert large["stand_in"].pop("test") > small["stand_in"].pop("test")
        assert large == small
    assert mini["models"]["mini"].pop("parts") == "workflows/resources/mini-parts"
    assert (mini.pop("parts"), precise["parts"]) == ("shipped", "trained")
    precise["models"]["mini"].pop("parts")  # not taken
    assert mini["models"] == precise["models"]
    for name, settings in mini["methods"].items():
        if name != "hf_generate":
            assert precise["methods"][name] == settings, name
    assert len(precise["methods"]) > len(mini["methods"])


def test_shipped_parts_are_taken_and_nothing_is_trained() -> None:
    told = ("all", "-n", "--forceall", "--configfile", "workflows/config/mini.yaml")
    done = snakemake(ROOT, *told)
    assert done.returncode == 0, done.stderr[-2000:]
    jobs = Counter(re.findall(r"^(?:local)?rule (\w+):", done.stdout + done.stderr, re.M))
    assert jobs["take_parts"] == 1
    assert not {"train_method", "collect_parts"} & set(jobs)
    assert "train.jsonl" not in done.stdout, "no answers to learn from are made"
    trained = snakemake(ROOT, *told, "--config", "parts=trained")
    assert "rule take_parts:" not in trained.stdout, "control"


def test_parts_that_no_model_names_are_refused_in_one_line() -> None:
    done = snakemake(ROOT, "-n", *SMOKE, "--config", "parts=shipped")
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert "parts: shipped, but models.mini names no folder of parts" in said


def test_a_sweep_s_variants_have_seconds_and_seeds_of_their_own() -> None:
    study = ("--configfile", "workflows/config/mini-study.yaml")
    done = snakemake(ROOT, "-n", "--forceall", "sweep", "--printshellcmds", *study)
    assert done.returncode == 0, done.stderr[-2000:]
    trained = re.findall(
        r"harness \S+ \S+ train --method (\w+) .+? --seconds (\d+) --seed (\d)", done.stdout
    )
    assert {("firp", "15", "0"), ("medusa", "240", "0")} <= set(trained)
    assert len(trained) == 10
    seeds = re.findall(r"harness \S+ \S+ train .+? --seed (\d)", done.stdout)
    assert seeds.count("1") == 4
    assert len(seeds) == 18, "those of equal steps have no seconds"
    assert "studies" not in "".join(re.findall(r"--settings '(.+?)' --model", done.stdout))
    assert "sweep-table --model mini --method firp" in done.stdout


def test_an_arm_that_is_in_no_session_can_be_swept() -> None:
    sweeps = json.dumps({"chimera": [{"learning_rate": 0.01}]})
    done = snakemake(ROOT, "sweep", "-n", "--forceall", *SMOKE[1:], "--config", f"sweeps={sweeps}")
    assert done.returncode == 0, done.stderr[-2000:]
    assert "rule sweep_train:" in done.stdout
    assert "rule sweep_tune:" in done.stdout


def test_questions_that_are_asked_uncut_have_a_cap_of_their_own(tmp_path: Path) -> None:
    told = ("-n", "--forceall", "--printshellcmds", *SMOKE)
    asked = {"gsm8k": {"uncut": {"first": 3, "max_new_tokens": 77}}}
    own = tmp_path / "uncut.yaml"
    own.write_text(yaml.safe_dump({"datasets": asked}))
    done = snakemake(ROOT, *told, str(own))
    assert done.returncode == 0, done.stderr[-2000:]
    (command,) = re.findall(r"harness \S+ \S+ uncut (.+)", done.stdout)
    assert """--caps '{"gsm8k": 77}'""" in command
    assert '"first": 3' in done.stdout
    plain = snakemake(ROOT, *told)
    assert plain.returncode == 0
    assert " uncut " not in plain.stdout, "control"


def test_drawn_tokens_reach_everything_that_decodes() -> None:
    told = ("-n", "--forceall", "--printshellcmds", "all", "--configfile")
    done = snakemake(ROOT, *told, "workflows/config/mini-sampling.yaml")
    assert done.returncode == 0, done.stderr[-2000:]
    drawn = """--sampling '{"seed": 0, "temperature": 0.7, "top_p": 1.0}'"""
    for command in ("tune", "profile", "curve"):
        said = re.findall(rf"harness \S+ \S+ {command} (.+)", done.stdout)
        assert said
        assert all(drawn in one for one in said), command
    sessions = re.findall(r"harness \S+ \S+ session .+?--options '(.+?)'", done.stdout)
    assert {json.loads(given)["sampling"]["temperature"] for given in sessions} == {0.7}
    assert "medusa_llm" not in done.stdout, "it only decodes greedily"
    plain = snakemake(ROOT, *told, "workflows/config/mini.yaml").stdout
    assert "--sampling" not in plain
    assert "medusa_llm" in plain, "control"


def test_the_engine_benchmark_is_a_target_of_its_own() -> None:
    done = snakemake(ROOT, "-n", "--forceall", "engine", "--printshellcmds", *SMOKE[1:])
    assert done.returncode == 0, done.stderr[-2000:]
    listed = done.stdout + done.stderr
    assert set(re.findall(r"rule (\w+):", listed)) == {"engine", "bench_engine", "predict_speedups"}
    given = "--shape tiny --dtype float32 --device cpu --rows=1,4 --contexts=16 --repeats=2"
    assert given in listed
    assert "bench_engine" not in snakemake(ROOT, "-n", "--forceall", *SMOKE).stdout


def test_attention_and_weights_of_the_config_reach_the_engine_benchmark_and_sessions() -> None:
    where = "workflows/resources/mini-target"
    model = {"mini": {"path": where, "attention": "eager", "weights": "nf4"}}
    change = ('engine={"models": ["mini"]}', f"models={json.dumps(model)}")
    rules = ("engine", "all")
    told = ("-n", "--forceall", "--printshellcmds", *SMOKE[1:])
    done = snakemake(ROOT, *rules, *told, "--config", *change)
    assert done.returncode == 0, done.stderr[-2000:]
    assert f"--model {where} --attention eager --weights nf4" in done.stdout
    sessions = re.findall(r"harness \S+ \S+ session --model '(.+?)'", done.stdout)
    assert {json.loads(given)["weights"] for given in sessions} == {"nf4"}
    assert '"weights": {"mini": "nf4"}' in done.stdout, "reports say it"


def test_what_a_local_target_consists_of_is_an_input(tmp_path: Path) -> None:
    parts = ("config.json", "chat_template.jinja", "tokenizer.model", "model.safetensors")
    for name in (*parts, "notes.md"):
        (tmp_path / name).touch()
    models = json.dumps({"mini": {"path": str(tmp_path)}})
    done = snakemake(ROOT, "-n", "--forceall", *SMOKE, "--config", f"models={models}")
    assert done.returncode == 0, done.stderr[-2000:]
    inputs = re.findall(r"^rule session:\n    input: (.*)$", done.stdout, re.M)
    assert inputs
    for line in inputs:
        assert {f"{tmp_path}/{name}" for name in parts} <= set(line.split(", ")), line
        assert "notes.md" not in line, "control: a file that no loader reads"


def test_an_engine_benchmark_of_an_unknown_model_is_named() -> None:
    change = 'engine={"models": ["vicuna"]}'
    done = snakemake(ROOT, "-n", "engine", *SMOKE[1:], "--config", change)
    assert done.returncode != 0
    assert "engine.models: 'vicuna', expected one of mini" in done.stdout + done.stderr


def test_a_model_and_prompts_of_one_s_own_are_planned(tmp_path: Path) -> None:
    copy_project(tmp_path)
    (tmp_path / "my-model").mkdir()
    (tmp_path / "my-model/config.json").write_text("{}")
    (tmp_path / "my-prompts").mkdir()
    for split in ("train", "tune", "test"):
        line = {"question_id": "1", "category": "mine", "turns": ["Hello"]}
        (tmp_path / f"my-prompts/{split}.jsonl").write_text(json.dumps(line) + "\n")
    asked = ("all", "-n", "--configfile", "workflows/config/own.yaml")
    done = snakemake(tmp_path, *asked)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "rule train_method:" in done.stdout + done.stderr
    (tmp_path / "my-prompts/tune.jsonl").unlink()
    done = snakemake(tmp_path, *asked)
    assert done.returncode != 0, "control: a file that is not there"
    assert "my-prompts/tune.jsonl" in done.stdout + done.stderr
