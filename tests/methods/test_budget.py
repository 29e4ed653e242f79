"""What a method may spend: steps planned to fit, rounds cut short, published settings timed too."""

import csv
import dataclasses
import json
from pathlib import Path
from random import Random as Rng

import pytest

from harness.commands import methods as commands
from harness.commands.methods import MethodStep, TuneData, train_method, tune_method
from harness.engine.drafter import Drafter
from harness.engine.loop import EngineDecoder
from harness.engine.target import Target
from harness.errors import HarnessError
from harness.measure import trials
from harness.measure.trials import Trial, choose, time_trials
from harness.method import Job
from methods import load_method
from methods.firp import METHOD
from methods.firp.training import train
from methods.shared import training
from tests.methods.test_firp_training import job
from tests.models import tiny_model
from tests.toys import Noting


def _planned(work: Job) -> int:
    train(work)
    config: dict[str, int] = json.loads((work.folder / "config.json").read_text())
    return config["training_steps"]


def test_no_more_steps_are_planned_than_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(10_000))  # every look at the clock finds it a second later
    monkeypatch.setattr(training.time, "monotonic", lambda: float(next(clock)))
    work = job(Target(tiny_model("llama")), tmp_path)
    started = float(next(clock))
    # Gone when the steps are counted: one second for the job, two looks each at the probes and an
    # evaluation. Those last a second: 1/12 s a step, and 1/2 s of evaluation for it.
    short = dataclasses.replace(work, folder=tmp_path / "short", seconds=8.5, started=started)
    assert _planned(short) == int((8.5 - 5 - 1) / (1 / training.PROBES + 1 / 2))
    long = dataclasses.replace(work, folder=tmp_path / "long", seconds=9e6, started=started)
    assert _planned(long) == work.settings.training_steps, "the settings' own limit"


def test_a_killed_training_keeps_its_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = dataclasses.replace(job(Target(tiny_model("llama")), tmp_path), seconds=9e6)
    save = training._save_checkpoint

    def save_and_die(*arguments) -> None:  # type: ignore[no-untyped-def]
        save(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "_steps_that_fit", lambda *_: 5)
    monkeypatch.setattr(training, "_save_checkpoint", save_and_die)
    with pytest.raises(KeyboardInterrupt):
        train(work)
    monkeypatch.setattr(training, "_save_checkpoint", save)
    monkeypatch.setattr(training, "_steps_that_fit", lambda *_: 3)
    assert _planned(work) == 5


def _trials(target: Target, count: int) -> list[Trial]:
    found = [Trial({"number": n}, EngineDecoder(target, Drafter())) for n in range(count)]
    found[-1].default = True
    return found


def test_a_candidate_remembers_what_counts_and_no_warm_up(tmp_path: Path) -> None:
    target = Target(tiny_model("llama"))
    work, notes = job(target, tmp_path), list[tuple[str, int]]()
    asked = [dataclasses.replace(work.requests[0], max_new_tokens=n) for n in (5, 3)]
    trial = Trial({}, Noting(target, notes))
    time_trials(dataclasses.replace(work, requests=asked), "made", [trial], asked, Rng(0))
    assert [said for said, _ in notes] == ["answered", *["answered", "remembered"] * 2]
    assert [steps for said, steps in notes if said == "remembered"] == [5, 3]


@pytest.mark.parametrize(("seconds", "rounds"), [(None, 3), (1e9, 3), (0.0, 1)])
def test_rounds_end_with_the_budget(tmp_path: Path, seconds: float | None, rounds: int) -> None:
    target = Target(tiny_model("llama"))
    work = dataclasses.replace(job(target, tmp_path), seconds=seconds)
    best = choose(work, "made", _trials(target, 2), rounds=3)
    assert best.requests == rounds * len(work.requests)


def test_the_published_setting_is_timed_on_all_requests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = Target(tiny_model("llama"))
    work = job(target, tmp_path)
    monkeypatch.setattr(Trial, "speedup", property(lambda trial: 9.0 - trial.setting["number"]))
    choose(work, "made", _trials(target, 7))
    with (tmp_path / trials.TRIALS).open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["role"] for row in rows] == ["chosen", "", "", "", "", "", "default"]
    finalists = [row["number"] for row in rows if int(row["requests"]) == len(work.requests)]
    assert finalists == ["0", "1", "2", "3", "6"], "the best four, and the slowest one"


def test_tuning_gets_what_training_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, float | None] = {}

    def train(work: Job) -> None:
        given["training"] = work.seconds
        (tmp_path / "config.json").write_text('{"training_seconds": 70.0}')

    def tune(work: Job) -> None:
        given["tuning"] = work.seconds

    method = dataclasses.replace(METHOD, train=train, tune=tune)
    work = job(Target(tiny_model("llama")), tmp_path)
    monkeypatch.setattr(commands, "method_job", lambda *_: work)
    step = MethodStep("made", method, {}, tmp_path, 0, budget=100.0)
    data = TuneData(Path(), Path(), (), {})
    train_method(None, step, data)  # type: ignore[arg-type]
    tune_method(None, step, data)  # type: ignore[arg-type]
    assert given == {"training": 75.0, "tuning": 30.0}
    spent = json.loads((tmp_path / commands.SPENT).read_text())
    assert (spent["training_seconds"], spent["budget_seconds"]) == (70.0, 100.0)
    unlimited = dataclasses.replace(step, budget=None)
    train_method(None, unlimited, data)  # type: ignore[arg-type]
    tune_method(None, unlimited, data)  # type: ignore[arg-type]
    assert given == {"training": None, "tuning": None}


@pytest.mark.parametrize(
    ("name", "lacking"),
    [
        ("hf_generate", "cache"),
        ("lookahead", "width"),
        ("self_speculative", "skipped"),
        ("prompt_lookup", "drafts"),
    ],
)
def test_a_setting_of_something_else_is_refused(tmp_path: Path, name: str, lacking: str) -> None:
    (tmp_path / "setting.json").write_text('{"policy": "static"}')
    method = load_method(name)
    with pytest.raises(HarnessError, match=f"setting.json: no '{lacking}', expected"):
        method.build(Target(tiny_model("llama")), method.settings(), tmp_path)
