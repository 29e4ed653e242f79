"""The workflow through Slurm's executor plugin, on a real Slurm of one node."""

import itertools
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
import yaml

from tests.workflow import slurm
from tests.workflow.test_smoke import ENVIRONMENT, ROOT, SMOKE, copy_project, snakemake

PROFILE = "workflows/profiles/slurm"
DATASET = "gsm8k"
ARMS = ("autoregressive", "autoregressive_again", "hf_generate", "firp")
# Trained, tuned or compared by the clock, or measured.
FREEZING = {"freeze_prompts", "freeze_tune_prompts", "freeze_train_prompts"}
UNTIMED = {"answer", "examine_method", "examine_pseudo_states", "check_trees"}
TIMED = {"train_method", "tune_method", "draft_size_curve", "profile", "cost", "session"}
THROUGH_SLURM = {
    **dict.fromkeys(FREEZING, 1),
    "answer": 2,  # train and tune
    "examine_pseudo_states": 1,
    "check_trees": 1,
    "train_method": 1,
    "tune_method": 2,  # firp and hf_generate
    "profile": 1,
    "cost": 1,
    "session": 2,  # shards
}


def _write_config(file: Path) -> None:
    """`smoke` with one data set, few arms, and a session of two shards."""
    config = yaml.safe_load((ROOT / "workflows/config/smoke.yaml").read_text())
    config["shards"] = 2
    config["datasets"] = {DATASET: config["datasets"][DATASET]}
    config["methods"] = {name: config["methods"][name] for name in ARMS}
    del config["draft_sizes"]
    file.write_text(yaml.safe_dump(config))


def _run(folder: Path) -> str:
    """As a user runs it, on one CPU a job: a second job would fit beside it."""
    command = [sys.executable, "-m", "snakemake", "all", "--workflow-profile", PROFILE]
    command += ["--cores", "1", "--configfile", "few.yaml", "--slurm-keep-successful-logs"]
    command += ["--default-resources", "slurm_partition=local", "runtime=10", "mem_mb=2000"]
    done = subprocess.run(
        command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


def _local_rules() -> set[str]:
    text = (ROOT / "Snakefile").read_text()
    return set(re.findall(r"    (\w+),\n", text.split("localrules:\n")[1].split("\n\n")[0] + "\n"))


def _stats(log: str) -> Counter[str]:
    """Jobs by rule, from the table that Snakemake begins with."""
    table = log.split("Job stats:")[1].split("\ntotal")[0]
    return Counter({name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", table, re.M)})


def test_every_rule_that_is_timed_asks_for_a_node_of_its_own() -> None:
    rules = {}
    for file in sorted((ROOT / "workflows/rules").glob("*.smk")):
        rules |= dict(re.findall(r"^rule (\w+):\n(.*?)(?=^\S|\Z)", file.read_text(), re.M | re.S))
    timing = re.compile(r"harness --threads \S+ (train|tune|curve|profile|cost|session|engine) ")
    timed = {name for name, body in rules.items() if timing.search(body)}
    assert timed == TIMED | {"bench_engine"}
    alone = {name for name, body in rules.items() if "slurm_extra=ALONE" in body}
    assert alone == timed


@pytest.mark.parametrize(("device", "gpus"), [("cpu", "0"), ("cuda", "1")])
def test_what_loads_the_target_asks_for_a_gpu_where_it_uses_one(device: str, gpus: str) -> None:
    done = snakemake(ROOT, "-n", "--forceall", *SMOKE, "--config", f"device={device}")
    assert done.returncode == 0, done.stderr[-2000:]
    asked = re.findall(r"rule (\w+):\n(?:    .+\n)*?    resources: .*\bgpu=(\d)", done.stdout)
    assert set(asked) == {(name, gpus) for name in TIMED | FREEZING | UNTIMED}


def test_the_workflow_runs_through_slurm_and_what_is_timed_runs_alone(tmp_path: Path) -> None:
    if reason := slurm.unavailable():
        pytest.skip(f"no Slurm here: {reason}")
    folder = tmp_path / "project"
    copy_project(folder)
    _write_config(folder / "few.yaml")
    with slurm.running_slurm():
        stats = _stats(_run(folder))
        jobs = slurm.finished_jobs()
    for name in (DATASET, "paper"):
        assert (folder / f"reports/{name}.pdf").read_bytes().startswith(b"%PDF")
    assert {job.state for job in jobs} == {"COMPLETED"}
    through = Counter(job.rule for job in jobs)
    assert through == THROUGH_SLURM
    assert set(stats - through) <= _local_rules(), "the rest ran where snakemake did"
    logs = (folder / ".snakemake/slurm_logs").glob("rule_*/**/*.log")
    assert len(list(logs)) == len(jobs)
    _check_alone(jobs)
    _check_shards(folder / "results/smoke/runs/mini" / DATASET / "session-1")


def _check_alone(jobs: list[slurm.Job]) -> None:
    timed = [job for job in jobs if job.rule in TIMED]
    assert {(job.shares, job.cpus) for job in timed} == {("NO", slurm.CPUS)}
    others = [job for job in jobs if job.rule not in TIMED]
    assert {(job.shares, job.cpus) for job in others} == {("OK", 1)}, "control: may be shared"
    for one, other in itertools.combinations(jobs, 2):
        if one in timed or other in timed:
            assert one.end <= other.start or other.end <= one.start, (one, other)


def _check_shards(runs: Path) -> None:
    rows = [pd.read_json(runs / f"shard-{shard}.jsonl", lines=True) for shard in (1, 2)]
    questions = [question for shard in rows for question in shard["question_id"].unique()]
    assert len(questions) == len(set(questions)) == 2
    assert all(set(shard["arm"]) == set(ARMS) for shard in rows)
