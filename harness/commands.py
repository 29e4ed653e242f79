"""One function per step of the workflow; the command line parses arguments and calls these."""

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from harness.data.answers import greedy_answers, read_answers, write_answers
from harness.data.prompts import (
    Format,
    Prompt,
    drop_long,
    make_prompts,
    read_prompts,
    write_prompts,
)
from harness.data.questions import Source, load_questions
from harness.decoder import Request
from harness.errors import HarnessError
from harness.files import read_json, sha256_file, sha256_json, write_json, write_jsonl
from harness.measure.machine import commit, fingerprint, machine, packages
from harness.measure.session import Plan, run_session
from harness.method import Job, Method, parse_settings
from harness.mini.corpus import record
from harness.models import ModelSpec, load_target, load_tokenizer, stop_ids


def make_stand_in(dataset: str, split: str, count: int, seed: int, out: Path) -> None:
    """Write ``count`` records of a stand-in as JSON lines in the real set's columns."""
    write_jsonl(out, (record(dataset, split, index, seed) for index in range(count)))


@dataclass(frozen=True, slots=True)
class Split:
    """A dataset's split: where it is, how it is prompted and which prompts are too long."""

    dataset: str
    source: dict[str, Any]
    few_shot: dict[str, Any] | None
    longest_prompt: int


def _format(spec: ModelSpec, split: Split) -> Format:
    shots: tuple[tuple[str, str], ...] = ()
    if split.few_shot:
        questions = load_questions(split.dataset, Source(**split.few_shot))
        shots = tuple((q.turns[0], q.references[0]) for q in questions)
    return Format(load_tokenizer(spec), spec.chat, shots)


def freeze_prompts(spec: ModelSpec, split: Split, first_turns: Path | None, out: Path) -> None:
    """Freeze a split's prompts; ``first_turns`` holds the frozen answers to first turns."""
    form = _format(spec, split)
    questions = load_questions(split.dataset, Source(**split.source))
    answers: dict[str, str] = read_json(first_turns) if first_turns else {}
    prompts = make_prompts(split.dataset, questions, form, answers)
    kept, dropped = drop_long(prompts, split.longest_prompt)
    write_prompts(out, kept, dropped)


def answer_first_turns(spec: ModelSpec, split: Split, cap: int, out: Path) -> None:
    """Greedy answers to the first turns that a second one follows: {prompt_id: text}."""
    form = _format(spec, split)
    questions = [q for q in load_questions(split.dataset, Source(**split.source)) if q.turns[1:]]
    prompts, _ = drop_long(make_prompts(split.dataset, questions, form, {}), split.longest_prompt)
    target = load_target(spec)
    stops = stop_ids(target, form.tokenizer)
    ids = greedy_answers(target, prompts, {split.dataset: cap}, stops)
    texts = form.tokenizer.batch_decode(ids, skip_special_tokens=True)
    write_json(out, {p.prompt_id: t for p, t in zip(prompts, texts, strict=True)})


def answer_prompts(spec: ModelSpec, files: Sequence[Path], caps: dict[str, int], out: Path) -> None:
    """The target's greedy answers to all prompts of a split: what methods learn from."""
    prompts = [prompt for file in files for prompt in read_prompts(file)]
    target = load_target(spec)
    stops = stop_ids(target, load_tokenizer(spec))
    write_answers(out, prompts, greedy_answers(target, prompts, caps, stops))


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
    step.method.train(_job(spec, step, data))


def tune_method(spec: ModelSpec, step: MethodStep, data: TuneData) -> None:
    """Run a method's choice of its setting on the tune split."""
    if step.method.tune is None:
        raise HarnessError(f"method '{step.name}': nothing to tune")
    step.method.tune(_job(spec, step, data))


def _job(spec: ModelSpec, step: MethodStep, data: TuneData) -> Job:
    target = load_target(spec)
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


@dataclass(frozen=True, slots=True)
class SessionFiles:
    """Inputs and output of a session."""

    prompts: Path
    warmup: Path
    folders: Path  # <folders>/<method> holds what training and tuning wrote
    out: Path


def measure_session(
    spec: ModelSpec,
    arms: dict[str, tuple[Method, dict[str, Any]]],
    files: SessionFiles,
    options: dict[str, Any],
) -> None:
    """Run one session; writes rows to ``files.out`` and provenance beside it.

    ``options``: labels, seed, max_new_tokens, warmup (number of prompts).
    """
    target, tokenizer = load_target(spec), load_tokenizer(spec)
    stops = stop_ids(target, tokenizer)
    decoders = {}
    for name, (method, given) in arms.items():
        folder = files.folders / name
        settings = parse_settings(name, method, given)
        decoders[name] = method.build(target, settings, folder if folder.is_dir() else None)
    facts = machine(target.device)
    plan = Plan(
        arms=decoders,
        prompts=read_prompts(files.prompts),
        warmup=read_prompts(files.warmup)[: options["warmup"]],
        max_new_tokens=options["max_new_tokens"],
        stops=stops,
        device=target.device,
        seed=options["seed"],
        labels={**options["labels"], "fingerprint": fingerprint(facts)},
        detokenise=lambda ids: str(tokenizer.decode(ids, skip_special_tokens=True)),
        audit=target.margin,
    )
    header = {
        "options": sha256_json([options, {n: given for n, (_, given) in arms.items()}]),
        "prompts": sha256_file(files.prompts),
        "weights": target.weights_hash,
        "methods": {name: _folder_hash(files.folders / name) for name in sorted(arms)},
        "commit": commit(),
    }
    run_session(plan, files.out, header)
    provenance = {
        **header,
        "machine": facts,
        "packages": packages(),
        "dtype": spec.dtype,
        "parameters": sum(p.numel() for p in target.model.parameters()),
        "extra_bytes": {name: decoder.extra_bytes() for name, decoder in decoders.items()},
    }
    write_json(files.out.with_suffix(".provenance.json"), provenance)


def _folder_hash(folder: Path) -> str:
    """Hash of what training and tuning wrote; empty without a folder."""
    if not folder.is_dir():
        return ""
    names = sorted(p.name for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
    return sha256_json({name: sha256_file(folder / name) for name in names})


def check_methods(arms: dict[str, tuple[Method, dict[str, Any]]], out: Path) -> None:
    """Parse every method's settings before any long job; writes them resolved."""
    resolved = {name: repr(parse_settings(name, *pair)) for name, pair in arms.items()}
    write_json(out, resolved)


def use_threads(count: int) -> None:
    """Set torch's thread count; recorded with every row's fingerprint."""
    torch.set_num_threads(count)


def parse_json(text: str, what: str) -> Any:
    """JSON from the command line."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise HarnessError(f"{what}: expected JSON, found {text[:60]!r} ({error})") from None
