"""Settings tried inside a training's own seconds: the best is kept, and all of it is paid for."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from harness.engine.target import Target
from harness.errors import HarnessError
from harness.method import Job
from methods import load_method
from methods.firp.projections import load
from methods.firp.training import _learner, train
from methods.shared import tries
from tests.methods.test_budget import SteppedClock
from tests.methods.test_firp_training import job as firp_job
from tests.models import tiny_model

TRIES = ({"learning_rate": 1e-3}, {"learning_rate": 2e-3, "entry_layers": (2, 2)})


def job(folder: Path, **settings: Any) -> Job:
    plain = firp_job(Target(tiny_model("llama")), folder)
    return replace(plain, settings=replace(plain.settings, **settings))


@pytest.mark.parametrize("best", [0, 1])
def test_the_best_try_s_settings_are_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, best: int
) -> None:
    work = job(tmp_path, tries=TRIES, training_steps=80)
    real = tries._try

    def judged(*given: Any) -> tries.Tried:
        return replace(real(*given), tokens=2.0 if given[2] == best else 1.0)

    monkeypatch.setattr(tries, "_try", judged)
    train(work)
    table = pd.read_csv(tmp_path / "tries.csv")
    assert [json.loads(text)["learning_rate"] for text in table["settings"]] == [1e-3, 2e-3]
    assert list(table["steps"]) == [4, 4], "a twentieth of the steps each"
    assert load(tmp_path, 32).layout.entry_layers == ((2, 2) if best else (1, 2))
    assert not list(tmp_path.glob(".try-*"))
    assert not (tmp_path / "checkpoint.pt").exists()


def test_tries_are_paid_for_by_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = replace(job(tmp_path, tries=TRIES), seconds=100.0)
    SteppedClock(monkeypatch, step=1.0, evaluation=0.0)
    train(work)
    facts = json.loads((tmp_path / "config.json").read_text())
    table = pd.read_csv(tmp_path / "tries.csv")
    assert table["seconds"].between(4, 6).all()
    assert 95 <= facts["training_seconds"] <= 105
    assert 85 <= facts["training_steps"] <= 92, "what is left beside two twentieths"
    without = replace(job(tmp_path / "without"), seconds=100.0)
    train(without)
    alone = json.loads((tmp_path / "without" / "config.json").read_text())
    assert alone["training_steps"] > 95, "control"


def test_judging_a_try_is_paid_for_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = replace(job(tmp_path, tries=TRIES), seconds=100.0)
    clock = SteppedClock(monkeypatch, step=1.0, evaluation=0.0)
    clock.slow(monkeypatch, tries, "measure", 10.0)
    train(work)
    facts = json.loads((tmp_path / "config.json").read_text())
    assert pd.read_csv(tmp_path / "tries.csv")["seconds"].between(14, 16).all()
    assert 95 <= facts["training_seconds"] <= 105
    assert 65 <= facts["training_steps"] <= 72


def test_a_try_that_was_finished_is_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = job(tmp_path, tries=TRIES, training_steps=20)
    first = tries.best_of_tries(work, _learner)
    trained = []
    real = tries.training.train
    monkeypatch.setattr(tries.training, "train", lambda *a: trained.append(a) or real(*a))
    again = tries.best_of_tries(work, _learner)
    assert (again[0].settings, again[1]) == (first[0].settings, first[1])
    assert not trained
    (tmp_path / ".try-1" / "tried.json").unlink()
    tries.best_of_tries(work, _learner)
    assert len(trained) == 1, "control"
    other = job(tmp_path, tries=({"learning_rate": 3e-3}, *TRIES[1:]), training_steps=20)
    tries.best_of_tries(other, _learner)
    assert len(trained) == 2, "the first one was of other settings"


def test_a_try_of_unknown_settings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="tries"):
        train(job(tmp_path, tries=({"speed": 3},)))


def test_medusa_tries_too(tmp_path: Path) -> None:
    method = load_method("medusa")
    settings = method.settings(
        training_steps=20, batch=2, evaluate_every=5, tries=({"layers": 2}, {"layers": 2})
    )
    plain = job(tmp_path)
    assert method.train is not None
    method.train(replace(plain, settings=settings))
    facts = json.loads((tmp_path / "config.json").read_text())
    assert facts["medusa_num_layers"] == 2
    assert len(pd.read_csv(tmp_path / "tries.csv")) == 2
