"""Checking, training and tuning methods."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.data.answers import read_answers
from harness.data.prompts import Prompt, read_prompts
from harness.decoder import Request
from harness.engine.target import Target
from harness.errors import HarnessError
from harness.files import sha256_file, sha256_json, write_json
from harness.method import Job, Method, parse_settings
from harness.models import ModelSpec, load_target, load_tokenizer, stop_ids


@dataclass(frozen=True, slots=True)
class MethodStep:
    """A method with its settings, and where its training and tuning go."""

    name: str
    method: Method
    settings: dict[str, Any]
    folder: Path
    seed: int


@dataclass(frozen=True, slots=True)
class TuneData:
    """Answers of both splits, and the tune prompts with their caps."""

    train_answers: Path
    tune_answers: Path
    prompts: Sequence[Path]
    caps: dict[str, int]


def train_method(spec: ModelSpec, step: MethodStep, data: TuneData) -> None:
    """Run a method's training."""
    if step.method.train is None:
        raise HarnessError(f"method '{step.name}': nothing to train")
    step.method.train(method_job(spec, step, data))


def tune_method(spec: ModelSpec, step: MethodStep, data: TuneData) -> None:
    """Run a method's choice of its setting on the tune split."""
    if step.method.tune is None:
        raise HarnessError(f"method '{step.name}': nothing to tune")
    step.method.tune(method_job(spec, step, data))


def method_job(
    spec: ModelSpec, step: MethodStep, data: TuneData, target: Target | None = None
) -> Job:
    """What a method trains and tunes with; ``target`` where it is already loaded."""
    target = target or load_target(spec)
    stops = stop_ids(target, load_tokenizer(spec))
    prompts = _interleave([read_prompts(file) for file in data.prompts])
    requests = [Request(p.input_ids, data.caps[p.dataset], stops) for p in prompts]
    files = (data.train_answers, data.tune_answers)
    return Job(
        target=target,
        settings=parse_settings(step.name, step.method, step.settings),
        folder=step.folder,
        seed=step.seed,
        train=read_answers(data.train_answers),
        tune=read_answers(data.tune_answers),
        requests=requests,
        data_hash=sha256_json([sha256_file(file) for file in files]),
    )


def _interleave(groups: list[list[Prompt]]) -> list[Prompt]:
    """One of each dataset in turn, so that any part of the list holds all datasets."""
    mixed = itertools.chain.from_iterable(itertools.zip_longest(*groups))
    return [prompt for prompt in mixed if prompt is not None]


def check_methods(arms: dict[str, tuple[Method, dict[str, Any]]], out: Path) -> None:
    """Parse every method's settings before any long job; writes them resolved."""
    resolved = {name: repr(parse_settings(name, *pair)) for name, pair in arms.items()}
    write_json(out, resolved)
