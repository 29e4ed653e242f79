"""The stages of the smoke experiment, with the commands that Snakemake would run."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from harness.commands.stand_in import make_stand_in
from tests import ROOT
from tests.faults.kills import Stage, lay_out

RESULTS = "results/smoke"
SMOKE = ("all", "--configfile", "workflows/config/smoke.yaml")
ENVIRONMENT = {
    **os.environ,
    "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    "PYTHONPATH": str(ROOT),
}
METHOD = f"{RESULTS}/methods/mini"


@dataclass(frozen=True)
class Job:
    """A job of the workflow: the output that names it, the folder that it writes to, and what goes
    before its first start besides its declared outputs (patterns).
    """

    output: str
    folder: str
    without: tuple[str, ...] = ()


def _training(method: str) -> Job:
    folder = f"{METHOD}/{method}"
    return Job(f"{folder}/config.json", folder, (f"{folder}/*",))


def _tuning(method: str) -> Job:
    return Job(f"{METHOD}/{method}/setting.json", f"{METHOD}/{method}")


# Cheapest first. The calibration of self-speculative decoding stays: it is timed, all else follows.
JOBS = {
    "stand_in": Job(f"{RESULTS}/stand_ins/gsm8k/train.jsonl", f"{RESULTS}/stand_ins/gsm8k"),
    "prompts": Job(f"{RESULTS}/prompts/mini/mtbench.jsonl", f"{RESULTS}/prompts/mini"),
    "answers": Job(f"{RESULTS}/answers/mini/tune.jsonl", f"{RESULTS}/answers/mini"),
    "tables": Job(f"{RESULTS}/tables/facts.json", f"{RESULTS}/tables"),
    "figures": Job(f"{RESULTS}/figures/done.json", f"{RESULTS}/figures"),
    "report": Job(f"{RESULTS}/report/paper.pdf", f"{RESULTS}/report"),
    "train_firp": _training("firp"),
    "train_medusa": _training("medusa"),
    "train_hf_assisted": _training("hf_assisted"),
    "train_self_speculative": Job(
        f"{METHOD}/self_speculative/config.json", f"{METHOD}/self_speculative"
    ),
    "tune_self_speculative": _tuning("self_speculative"),
    "tune_firp": _tuning("firp"),
    "session": Job(f"{RESULTS}/runs/mini/gsm8k/session-1.jsonl", f"{RESULTS}/runs/mini/gsm8k"),
    "profile": Job(f"{RESULTS}/profile/mini.csv", f"{RESULTS}/profile"),
    "cost": Job(f"{RESULTS}/cost/mini.csv", f"{RESULTS}/cost"),
    "curve": Job(f"{RESULTS}/curve/mini.csv", f"{RESULTS}/curve"),
}


def finish_smoke(folder: Path) -> None:
    """Run the smoke experiment to its end in ``folder``, unless it has run there."""
    if not (folder / "Snakefile").is_file():
        for name in ("workflows", "profiles", "harness", "methods"):
            shutil.copytree(ROOT / name, folder / name)
        for name in ("Snakefile", "environment.yml"):
            shutil.copy(ROOT / name, folder / name)
    _snakemake(folder)


def smoke_stages(finished: Path, work: Path) -> dict[str, Stage]:
    """The stages of an experiment that has run in ``finished``, to be run again in ``work``."""
    jobs = dry_run(_snakemake(finished, "--dry-run", "--printshellcmds", "--forceall"))
    stages = {}
    for name, job in JOBS.items():
        outputs, command = next(found for found in jobs if job.output in found[0])
        own = (*outputs, *job.without)
        anew = partial(lay_out, finished, work / name, own)
        stages[name] = Stage(name, command, work / name, job.folder, outputs, anew, ENVIRONMENT)
    return stages


def dry_run(text: str) -> list[tuple[tuple[str, ...], str]]:
    """(outputs, command) of every job that Snakemake lists."""
    found = []
    for block in re.split(r"^(?:local)?rule ", text, flags=re.M)[1:]:
        outputs = re.search(r"^    output: (.*)$", block, re.M)
        command = re.search(r"^Shell command: (.*)$", block, re.M)
        if outputs and command:
            names = (name.split(" (")[0] for name in outputs[1].split(", "))
            found.append((tuple(names), command[1]))
    return found


def _snakemake(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "snakemake", "--cores", "1", *arguments, *SMOKE]
    environment = {**ENVIRONMENT, "PYTHONPATH": str(folder)}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"snakemake: {done.stdout[-1000:]} {done.stderr[-1000:]}")
    return done.stdout + done.stderr


def stand_in_stage(work: Path) -> Stage:
    """Cheap enough for every test run."""
    command = "python -m harness stand-in --dataset gsm8k --split train --count 300 --out q.jsonl"
    anew = partial(_empty, work)
    return Stage("stand_in", f"cd out; {command}", work, "out", ("out/q.jsonl",), anew, ENVIRONMENT)


def target_stage(work: Path) -> Stage:
    """A small target trained from scratch: 160 steps, a checkpoint after every 50."""
    recipe = {
        "sources": {"gsm8k": {"path": "questions.jsonl"}},
        "shape": {"layers": 2, "width": 32, "heads": 2, "inner": 48, "vocab": 400, "context": 256},
        "training": {"tokens": 160 * 4 * 160, "rows": 4, "length": 160},
    }
    command = f"python -m harness --threads 1 pretrain --recipe '{json.dumps(recipe)}' --out out"
    anew = partial(_empty, work, questions=200)
    return Stage("target", command, work, "out", ("out/record.json",), anew, ENVIRONMENT)


def _empty(work: Path, questions: int = 0) -> None:
    """A working directory without anything but the questions."""
    shutil.rmtree(work, ignore_errors=True)
    (work / "out").mkdir(parents=True)
    if questions:
        make_stand_in("gsm8k", "train", questions, 0, work / "questions.jsonl")
