"""Profile each arm's decode time by phase, on a few tune prompts of each data set."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from tqdm import tqdm

from harness.commands.options import (
    SAMPLING,
    Argument,
    parse_arms,
    parse_caps,
    parse_sampling,
    parse_spec,
    use_threads,
)
from harness.decoder import Decoder, Request, Sampling
from harness.engine.loop import EngineDecoder
from harness.errors import first_line, named, out_of_memory
from harness.experiment.arms import Arms
from harness.experiment.records import PHASES, PREFILL
from harness.files import write_csv
from harness.measure.arms import build_decoders
from harness.measure.machine import fingerprint, machine
from harness.measure.prepare import mixed_prompts
from harness.measure.profile import PhaseClock, WatchedDecoder
from harness.measure.timing import run_timed
from harness.models import ModelSpec, drawn_by, load_target, load_tokenizer, stop_ids

COLUMNS = (
    "dataset",
    "method",
    "requests",
    "decode_steps",
    "timed_seconds",
    "decode_seconds",
    PREFILL,
    *PHASES,
    "fingerprint",
)


@dataclass(frozen=True, slots=True)
class Watched:
    """What is profiled: ``count`` tune prompts, the data sets in turn, and the arms' folders."""

    prompts: Sequence[Path]
    caps: dict[str, int]
    folders: Path
    count: int
    sampling: Sampling


def write_profile(spec: ModelSpec, arms: Arms, watched: Watched, out: Path) -> None:
    """Write one line per data set and arm: decode seconds without and with clocks, and by phase.

    An arm outside the engine has only the first; an arm that runs out of memory has no line.
    """
    target = load_target(spec)
    decoders = build_decoders(target, arms, watched.folders)
    tokenizer = load_tokenizer(spec)
    watched = replace(watched, sampling=drawn_by(watched.sampling, tokenizer))
    sets = _requests(watched, stop_ids(target, tokenizer))
    machine_hash = fingerprint(machine(target.devices, target.product_kind))
    lines = []
    for name, decoder in tqdm(decoders.items(), desc="profile", unit="arm"):
        with named(f"profile of {name}"):
            try:
                lines += [
                    [
                        *(dataset, name, len(requests)),
                        *_profile(decoder, requests, target.device),
                        machine_hash,
                    ]
                    for dataset, requests in sets.items()
                ]
            except Exception as error:
                if not out_of_memory(error):
                    raise
                print(f"profile: {name} is left out, out of memory ({first_line(error)})")
    write_csv(out, COLUMNS, lines)


def _requests(watched: Watched, stops: frozenset[int]) -> dict[str, list[Request]]:
    """The first ``count`` tune prompts as requests, by data set."""
    sets: dict[str, list[Request]] = {}
    for prompt in mixed_prompts(watched.prompts)[: watched.count]:
        sampling = watched.sampling.of(prompt.sha256)
        request = Request(prompt.input_ids, watched.caps[prompt.dataset], stops, sampling)
        sets.setdefault(prompt.dataset, []).append(request)
    return sets


def _profile(
    decoder: Decoder, requests: Sequence[Request], device: torch.device
) -> list[float | str]:
    """Decode each request without and then with phase clocks, after a warm-up of both."""
    clock, watched = PhaseClock(device), None
    if isinstance(decoder, EngineDecoder):
        watched = WatchedDecoder(decoder, clock)
    steps, timed, clocked = 0, 0.0, 0.0
    for number, request in enumerate([requests[0], *requests]):
        if number == 1:  # the warm-up has built masks and filled allocators
            clock.seconds = dict.fromkeys(clock.seconds, 0.0)
            steps, timed, clocked = 0, 0.0, 0.0
        run = run_timed(decoder, request, device)
        steps, timed = steps + len(run.records) - 1, timed + run.decode_seconds
        if watched:
            clocked += run_timed(watched, request, device).decode_seconds
        if number:
            decoder.remember(run.records)
    if not watched:
        return [steps, timed, *[""] * (2 + len(PHASES))]
    return [steps, timed, clocked, *clock.seconds.values()]


def arguments(add: Argument) -> None:
    """Add the subcommand's arguments."""
    add("--model", required=True, type=parse_spec, help="JSON: where the model is")
    add("--methods", required=True, type=parse_arms, help="JSON: arm -> settings")
    add("--prompts", required=True, nargs="+", type=Path, help="tune prompts")
    add("--caps", required=True, type=parse_caps, help="JSON: dataset -> new tokens at most")
    add("--sampling", default="{}", type=parse_sampling, help=SAMPLING)
    add("--count", required=True, type=int, help="prompts decoded")
    add("--folders", required=True, type=Path, help="a folder of each arm is in it")
    add("--out", required=True, type=Path)


def run(options: argparse.Namespace) -> None:
    """Run the subcommand."""
    use_threads(options.threads)
    asked = (options.prompts, options.caps, options.folders, options.count, options.sampling)
    write_profile(options.model, options.methods, Watched(*asked), options.out)
