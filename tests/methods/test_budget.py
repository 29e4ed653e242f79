"""What a method may spend: trainings that last their seconds, timing that ends with them."""

import csv
import dataclasses
import json
from pathlib import Path
from random import Random as Rng
from typing import Any

import pytest
import torch

from harness.decoder import StepRecord
from harness.engine.drafter import Drafter
from harness.engine.loop import EngineDecoder
from harness.engine.target import Target
from harness.errors import HarnessError
from harness.experiment.arms import Arm
from harness.measure import prepare as commands
from harness.measure.prepare import MethodStep, TuneData, train_method, tune_method
from harness.measure.timing import TimedRun
from harness.method import Job
from methods import load_method
from methods.firp import METHOD
from methods.firp.training import train
from methods.shared import schedule, training, trials
from methods.shared.trials import Trial, choose, settle, time_trials
from tests.methods.test_firp_training import job
from tests.models import tiny_model
from tests.toys import Noting


class SteppedClock:
    """Seconds that pass only where a step or an evaluation takes them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, step: float, evaluation: float) -> None:
        self.now = 0.0
        self.slow(monkeypatch, training, "_step", step)
        self.slow(monkeypatch, training, "measure", evaluation)
        monkeypatch.setattr(schedule.time, "monotonic", lambda: self.now)

    def slow(self, monkeypatch: pytest.MonkeyPatch, module: Any, name: str, seconds: float) -> None:
        """Let a function of a module take seconds."""
        does = getattr(module, name)

        def slowly(*given: Any) -> Any:
            self.now += seconds
            return does(*given)

        monkeypatch.setattr(module, name, slowly)


def _facts(work: Job) -> dict[str, Any]:
    train(work)
    found: dict[str, Any] = json.loads((work.folder / "config.json").read_text())
    return found


@pytest.mark.parametrize("seconds", [30.0, 47.0])
def test_a_training_lasts_its_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    work = dataclasses.replace(job(Target(tiny_model("llama")), tmp_path), seconds=seconds)
    SteppedClock(monkeypatch, step=1.0, evaluation=2.0)
    facts = _facts(work)
    assert 0.9 * seconds <= facts["training_seconds"] <= 1.05 * seconds
    assert facts["training_steps"] > work.settings.training_steps, "which is not looked at"
    without = dataclasses.replace(work, folder=tmp_path / "without", seconds=None)
    assert _facts(without)["training_steps"] == work.settings.training_steps, "control"


def test_what_only_the_first_evaluation_costs_is_not_set_aside_for_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = job(Target(tiny_model("llama")), tmp_path)
    settings = dataclasses.replace(work.settings, evaluate_every=1000)
    work = dataclasses.replace(work, settings=settings, seconds=60.0)
    clock = SteppedClock(monkeypatch, step=1.0, evaluation=0.0)
    warm, cold = training.measure, [15.0]

    def measure(*given: Any) -> Any:
        clock.now += cold.pop() if cold else 1.0
        return warm(*given)

    monkeypatch.setattr(training, "measure", measure)
    over: list[tuple[float, float]] = []
    rate = training.schedule
    monkeypatch.setattr(
        training, "schedule", lambda done: over.append((clock.now, done)) or rate(done)
    )
    assert _facts(work)["training_seconds"] == pytest.approx(60, abs=1)
    # With the first one's 15 seconds set aside it would be over at 45, and then go on.
    assert max(done for now, done in over if now < 50) < 0.9
    with (work.folder / training.CURVES).open() as stream:
        seconds = [float(row["seconds"]) for row in csv.DictReader(stream)]
    assert len(seconds) == 3 and 20 < seconds[1] < 45, "at the start, halfway, at the end"


def test_float32_is_multiplied_in_tf32_while_training_on_cuda() -> None:
    seen = []
    for device in ("cuda", "cpu"):
        with training.tensor_cores(torch.device(device)):
            seen.append(torch.get_float32_matmul_precision())
        assert torch.get_float32_matmul_precision() == "highest"
    assert seen == ["high", "highest"]


def test_a_rising_tune_loss_ends_no_training_that_has_seconds_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = job(Target(tiny_model("llama")), tmp_path)
    settings = dataclasses.replace(work.settings, evaluate_every=1, patience=2, training_steps=40)
    work = dataclasses.replace(work, settings=settings, seconds=40.0)
    SteppedClock(monkeypatch, step=1.0, evaluation=0.0)
    losses = iter(range(1, 1000))  # worse at every evaluation
    plain = training.measure
    monkeypatch.setattr(
        training,
        "measure",
        lambda *given: dataclasses.replace(plain(*given), loss=float(next(losses))),
    )
    assert _facts(work)["training_steps"] == 40
    without = dataclasses.replace(work, folder=tmp_path / "without", seconds=None)
    stopped = _facts(without)["training_steps"]
    assert 20 <= stopped < 25, "without a budget it stops, but not while the rate is high"


def test_the_rate_follows_what_is_over() -> None:
    rates = [schedule.schedule(done) for done in (0.0, 0.02, 0.04, 0.52, 1.0, 1.2)]
    assert rates == pytest.approx([0.1, 0.5, 1.0, 0.51, 0.02, 0.02])


def test_a_killed_training_takes_what_was_left_of_its_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = dataclasses.replace(job(Target(tiny_model("llama")), tmp_path), seconds=30.0)
    clock = SteppedClock(monkeypatch, step=1.0, evaluation=0.0)
    save = training._save_checkpoint

    def save_and_die(*arguments: Any) -> None:
        save(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(training, "_save_checkpoint", save_and_die)
        with pytest.raises(KeyboardInterrupt):
            train(work)
    assert (work.folder / training.CHECKPOINT).is_file()
    facts = _facts(work)
    assert facts["training_seconds"] == pytest.approx(30, abs=1)
    assert facts["training_steps"] == 30
    assert clock.now == pytest.approx(30, abs=1), "from its checkpoint on: anew it would be 32"


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


@pytest.mark.parametrize(("seconds", "rounds"), [(None, 3), (1e9, 3)])
def test_every_round_is_timed_where_the_seconds_suffice(
    tmp_path: Path, seconds: float | None, rounds: int
) -> None:
    target = Target(tiny_model("llama"))
    work = dataclasses.replace(job(target, tmp_path), seconds=seconds)
    best = choose(work, "made", _trials(target, 2), rounds=3)
    assert best.requests == rounds * len(work.requests)


def test_timing_outruns_the_budget_by_one_request_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = Target(tiny_model("llama"))
    work = job(target, tmp_path)
    left = iter([9.0] * (trials.LEAST - 1) + [90.0, 90.0, 60.0, 60.0, 50.0, -0.5, -9.0])
    monkeypatch.setattr(Job, "seconds_left", property(lambda _: next(left)))
    candidates = _trials(target, 2)
    time_trials(work, "made", candidates, [work.requests[0]] * 30, Rng(0))
    begun = trials.LEAST + 5  # the first are begun whatever is left, five more with seconds left
    assert [trial.requests for trial in candidates] == [begun, begun]


@pytest.mark.parametrize(("left", "begun"), [(5.0, trials.LEAST), (20.0, 30)])
def test_no_request_is_begun_that_would_end_too_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: float, begun: int
) -> None:
    target = Target(tiny_model("llama"))
    work, now = job(target, tmp_path), iter(range(0, 1000, 10))
    monkeypatch.setattr(trials.time, "monotonic", lambda: float(next(now)))  # 10 s a request
    monkeypatch.setattr(Job, "seconds_left", property(lambda _: left))
    monkeypatch.setattr(trials, "_affordable", lambda racing, *_: racing)
    (candidate,) = candidates = _trials(target, 1)
    time_trials(work, "made", candidates, [work.requests[0]] * 30, Rng(0))
    assert candidate.requests == begun


@pytest.mark.parametrize(("left", "requests"), [(0.0, [1, 3, 1]), (1e9, [3, 3, 3])])
def test_the_slowest_drop_out_where_seconds_are_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: float, requests: list[int]
) -> None:
    target = Target(tiny_model("llama"))
    work = job(target, tmp_path)
    monkeypatch.setattr(Job, "seconds_left", property(lambda _: left))
    candidates = _trials(target, 3)
    speeds = [0.7, 0.9, 0.8]
    monkeypatch.setattr(Trial, "speedup", property(lambda trial: speeds[trial.setting["number"]]))
    time_trials(work, "made", candidates, [work.requests[0]] * 3, Rng(0))
    assert [trial.requests for trial in candidates] == requests


def test_one_that_dropped_out_is_not_chosen_however_fast_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = Target(tiny_model("llama"))
    work = job(target, tmp_path)
    monkeypatch.setattr(Job, "seconds_left", property(lambda _: 0.0))
    # The first to be timed is fast once and slow later; all others are between the two.
    monkeypatch.setattr(
        Trial,
        "speedup",
        property(lambda t: (2.0 if t.requests == 1 else 0.5) if t.setting["number"] == 0 else 1.0),
    )
    candidates = _trials(target, 3)
    for trial in candidates:
        trial.foretold = 1.0
    assert choose(work, "made", candidates, rounds=3).setting == {"number": 0}
    assert [trial.requests for trial in candidates] == [trials.LEAST, 1, 1]


def test_finalists_are_those_that_are_foretold_to_be_fastest(tmp_path: Path) -> None:
    target = Target(tiny_model("llama"))
    work = job(target, tmp_path)
    candidates = _trials(target, 7)
    for trial in candidates:
        trial.foretold = float(trial.setting["number"] % 4)
    choose(work, "made", candidates)
    timed = [trial.setting["number"] for trial in candidates if trial.requests]
    assert timed == [1, 2, 3, 6], "the best four: 3, 2, 6 and 1, the default among them"


@pytest.mark.parametrize(
    ("count", "screenings"), [(trials.FINALISTS, 0), (trials.FINALISTS + 1, 1)]
)
def test_a_few_need_no_screening(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, screenings: int
) -> None:
    target = Target(tiny_model("llama"))
    work, timed = job(target, tmp_path), []
    monkeypatch.setattr(trials, "time_trials", lambda *given: timed.append(given))
    choose(work, "made", _trials(target, count))
    assert len(timed) == screenings + 1


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


def test_a_trial_s_speedup_is_that_of_its_decode_phases() -> None:
    def run(tokens: tuple[int, ...], prefill: float, decode: float) -> TimedRun:
        steps = [StepRecord(tuple(range(n)), 2 if i else 0, 3) for i, n in enumerate(tokens)]
        return TimedRun(steps, prefill, decode)

    trial = Trial({}, EngineDecoder(Target(tiny_model("llama")), Drafter()))
    assert (trial.speedup, trial.acceptance_length) == (0.0, 0.0)
    trial.add(run((1, 3, 3), 9.0, 1.0), run((1, 1, 1, 1, 1, 1, 1), 1.0, 3.0))
    assert (trial.speedup, trial.acceptance_length) == (3.0, 3.0)
    trial.add(run((1, 2), 9.0, 2.0), run((1, 1, 1), 1.0, 1.0))
    assert trial.speedup == pytest.approx(4.0 / 3.0), "of the sums, not a mean of ratios"
    assert (trial.requests, trial.tokens, trial.steps, trial.rows) == (2, 8, 3, 9)


def test_the_fastest_setting_is_the_one_that_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = job(Target(tiny_model("llama")), tmp_path)
    monkeypatch.setattr(Trial, "speedup", property(lambda trial: 1.0 + trial.setting["number"] % 3))
    settle(work, "made", _trials(work.target, 4))
    assert json.loads((tmp_path / "setting.json").read_text()) == {"number": 2}
    with (tmp_path / trials.TRIALS).open() as stream:
        roles = {row["number"]: row["role"] for row in csv.DictReader(stream)}
    assert "chosen" in roles["2"] and not any("chosen" in roles[n] for n in "013")


@pytest.mark.parametrize(
    ("config", "tuning", "of_training"),
    [
        ('{"training_seconds": 70.0}', 30.0, 75.0),
        ('{"training_seconds": 70.0, "shipped": true}', 100.0, None),
    ],
)
def test_ready_made_parts_leave_all_seconds_to_the_tuning(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    config: str,
    tuning: float,
    of_training: float | None,
) -> None:
    given: list[float | None] = []
    (tmp_path / "config.json").write_text(config)
    method = dataclasses.replace(METHOD, tune=lambda work: given.append(work.seconds))
    work = job(Target(tiny_model("llama")), tmp_path)
    monkeypatch.setattr(commands, "method_job", lambda *_: work)
    monkeypatch.setattr(Arm, "method", method)
    step = MethodStep(Arm("made", "firp", {}), tmp_path, 0, budget=100.0)
    tune_method(None, step, TuneData(Path(), Path(), (), {}))  # type: ignore[arg-type]
    assert given == [tuning]
    spent = json.loads((tmp_path / commands.SPENT).read_text())
    assert spent["training_budget_seconds"] == of_training


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
    monkeypatch.setattr(Arm, "method", method)
    step = MethodStep(Arm("made", "firp", {}), tmp_path, 0, budget=100.0)
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
