"""Checking, training and tuning methods, with the same budget for every method.

A budget is wall seconds for training and tuning together. Training takes three quarters of it, and
tuning what is left; a method without training may tune for all of it, and so may every method with
ready-made parts.
"""

import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.data.answers import read_answers
from harness.data.prompts import Prompt, read_prompts
from harness.decoder import GREEDY, Request, Sampling
from harness.engine.target import Target
from harness.errors import HarnessError
from harness.experiment.arms import Arm, Arms
from harness.experiment.folder import CONFIG, SPENT
from harness.files import read_json, sha256_file, sha256_json, write_json
from harness.measure.machine import fingerprint, machine
from harness.measure.step_cost import read_forward_cost
from harness.method import Job, parse_settings
from harness.models import ModelSpec, drawn_by, load_target, load_tokenizer, stop_ids, text_config

TRAINING_SHARE = 0.75


@dataclass(frozen=True, slots=True)
class MethodStep:
    """An arm, and the folder of its training and tuning. ``budget``: seconds for both; without one,
    ``seconds`` are those of its training alone.
    """

    arm: Arm
    folder: Path
    seed: int
    budget: float | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class TuneData:
    """Answers of both splits, the tune prompts with their caps, and what forwards cost.

    Without ``train_answers`` nothing can be trained; without ``forwards`` tuning has to time
    candidates whose cost it could otherwise predict.
    """

    train_answers: Path | None
    tune_answers: Path
    prompts: Sequence[Path]
    caps: dict[str, int]
    forwards: Path | None = None
    sampling: Sampling = GREEDY


def train_method(spec: ModelSpec, step: MethodStep, data: TuneData) -> None:
    """Run a method's training."""
    train = step.arm.method.train
    if train is None:
        raise HarnessError(f"method '{step.arm.of}': nothing to train")
    job = method_job(spec, step, data)
    seconds = step.seconds if step.budget is None else TRAINING_SHARE * step.budget
    train(replace(job, seconds=seconds, started=time.monotonic()))


def tune_method(spec: ModelSpec, step: MethodStep, data: TuneData) -> None:
    """Let a method choose its setting on the tune split, and write the seconds that it took."""
    method = step.arm.method
    if method.tune is None:
        raise HarnessError(f"method '{step.arm.of}': nothing to tune")
    job = method_job(spec, step, data)
    config = read_json(step.folder / CONFIG) if method.train else {}
    trained, shipped = config.get("training_seconds", 0.0), bool(config.get("shipped"))
    before = 0.0 if shipped else trained
    seconds = None if step.budget is None else max(0.0, step.budget - before)
    job = replace(job, seconds=seconds, started=time.monotonic())
    method.tune(job)
    spent = {
        "training_seconds": trained,
        "tuning_seconds": round(time.monotonic() - job.started, 1),
        "budget_seconds": step.budget,
        "training_budget_seconds": _training_budget(step, config),
        "fingerprint": fingerprint(machine(job.target.devices, job.target.product_kind)),
    }
    write_json(step.folder / SPENT, spent)


def _training_budget(step: MethodStep, config: Mapping[str, Any]) -> float | None:
    """Seconds that the training had; None for parts that were not trained within this budget."""
    trained = "training_seconds" in config and not config.get("shipped")
    return TRAINING_SHARE * step.budget if trained and step.budget is not None else None


def examine_method(spec: ModelSpec, step: MethodStep, data: TuneData) -> None:
    """Write a method's tables about what it has learnt."""
    examine = step.arm.method.examine
    if examine is None:
        raise HarnessError(f"method '{step.arm.of}': nothing to examine")
    examine(method_job(spec, step, data))


def method_job(
    spec: ModelSpec, step: MethodStep, data: TuneData, target: Target | None = None
) -> Job:
    """The job that a method trains or tunes with; ``target`` where it is already loaded."""
    target = target or load_target(spec)
    files = [file for file in (data.train_answers, data.tune_answers) if file]
    return Job(
        target=target,
        settings=parse_settings(step.arm.name, step.arm.method, step.arm.settings),
        folder=step.folder,
        seed=step.seed,
        train=read_answers(data.train_answers) if data.train_answers else (),
        tune=read_answers(data.tune_answers),
        requests=tune_requests(spec, target, data.prompts, data.caps, data.sampling),
        data_hash=sha256_json([sha256_file(file) for file in files]),
        forwards=read_forward_cost(data.forwards) if data.forwards else None,
    )


def tune_requests(
    spec: ModelSpec,
    target: Target,
    prompts: Sequence[Path],
    caps: dict[str, int],
    sampling: Sampling = GREEDY,
) -> list[Request]:
    """Requests of frozen prompts, from each data set in turn."""
    tokenizer = load_tokenizer(spec)
    stops, sampling = stop_ids(target, tokenizer), drawn_by(sampling, tokenizer)
    return [
        Request(p.input_ids, caps[p.dataset], stops, sampling.of(p.sha256))
        for p in mixed_prompts(prompts)
    ]


def mixed_prompts(files: Sequence[Path]) -> list[Prompt]:
    """Prompts from each file in turn, so that any part of the list holds all data sets."""
    mixed = itertools.chain.from_iterable(itertools.zip_longest(*map(read_prompts, files)))
    return [prompt for prompt in mixed if prompt is not None]


def check_methods(arms: Arms, out: Path, spec: ModelSpec | None = None) -> None:
    """Refuse settings of an arm, by themselves or with one of its ``tries`` laid over them, that
    do not parse or do not go with the config of the model at ``spec``. Writes all settings,
    defaults included, to ``out``.
    """
    config = None if spec is None else text_config(spec)
    write_json(out, {name: _resolved(name, arm, config) for name, arm in arms.items()})


def _resolved(name: str, arm: Arm, config: Any) -> str:
    method = arm.method
    settings = parse_settings(name, method, arm.settings)
    tries = getattr(settings, "tries", ())
    tried = [parse_settings(name, method, {**arm.settings, "tries": (), **t}) for t in tries]
    if method.fits and config is not None:
        for each in tried or [settings]:
            method.fits(each, config)
    return repr(settings)
