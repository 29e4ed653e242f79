"""Bad configuration ends in one clear line, before any job."""

import re
from pathlib import Path

import pytest
import yaml

from tests.workflow.test_smoke import ROOT, SMOKE, snakemake


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("sessions=0", "0 is less than the minimum of 1"),
        ("shards=0", "0 is less than the minimum of 1"),
        ("sesions=3", "'sesions' was unexpected"),
        ('datasets={"squad": {"max_new_tokens": 4, "longest_prompt": 9}}', "squad"),
        ('experiment="../away"', "does not match"),
        ("device=tpu", "does not match"),
    ],
)
def test_a_bad_key_or_value_is_named(change: str, expected: str) -> None:
    done = snakemake(ROOT, "-n", *SMOKE, "--config", change)
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
    if name == "schema.yaml":
        return
    done = snakemake(ROOT, "--lint", "--configfile", f"workflows/config/{name}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert Path(ROOT / "workflows/config" / name).read_text().startswith("#")


def test_mini_precise_is_mini_with_more_questions_and_sessions() -> None:
    mini, precise = (
        yaml.safe_load((ROOT / f"workflows/config/{name}.yaml").read_text())
        for name in ("mini", "mini-precise")
    )
    assert precise["sessions"] > mini["sessions"]
    for name, spec in mini["datasets"].items():
        count = precise["datasets"][name]["stand_in"].pop("test")
        assert count > spec["stand_in"].pop("test")
    precise["methods"].pop("width_matched")  # costs a session of mini more than it tells there
    for key in ("experiment", "sessions", "sweeps", "engine"):
        mini.pop(key)
        precise.pop(key, None)
    assert precise == mini


def test_the_engine_benchmark_is_a_target_of_its_own() -> None:
    done = snakemake(ROOT, "-n", "--forceall", "engine", "--printshellcmds", *SMOKE[1:])
    assert done.returncode == 0, done.stderr[-2000:]
    listed = done.stdout + done.stderr
    assert set(re.findall(r"rule (\w+):", listed)) == {"engine", "bench_engine", "predict_speedups"}
    given = "--shape tiny --dtype float32 --device cpu --rows 1,4 --contexts 16 --repeats 2"
    assert given in listed
    assert "bench_engine" not in snakemake(ROOT, "-n", "--forceall", *SMOKE).stdout


def test_an_engine_benchmark_of_an_unknown_model_is_named() -> None:
    change = 'engine={"models": ["vicuna"]}'
    done = snakemake(ROOT, "-n", "engine", *SMOKE[1:], "--config", change)
    assert done.returncode != 0
    assert "engine.models: 'vicuna', expected one of mini" in done.stdout + done.stderr
