"""Where each arm's decode time goes, phase by phase, on a few tune prompts."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from harness.commands.arms import Arms, build_decoders
from harness.commands.methods import tune_requests
from harness.decoder import Decoder, Request
from harness.engine.loop import EngineDecoder
from harness.files import replacing
from harness.measure.profile import PHASES, PREFILL, PhaseClock, WatchedDecoder
from harness.measure.timing import run_timed
from harness.models import ModelSpec, load_target

COLUMNS = (
    "method",
    "requests",
    "decode_steps",
    "timed_seconds",
    "decode_seconds",
    PREFILL,
    *PHASES,
)


@dataclass(frozen=True, slots=True)
class Watched:
    """What is watched: the first ``count`` tune requests, and where the arms' parts are."""

    prompts: Sequence[Path]
    caps: dict[str, int]
    folders: Path
    count: int


def write_profile(spec: ModelSpec, arms: Arms, watched: Watched, out: Path) -> None:
    """One line an arm: decode-phase seconds without clocks inside, with them, and of each phase.

    Arms outside the engine have no phases, only the first.
    """
    target = load_target(spec)
    decoders = build_decoders(target, arms, watched.folders)
    requests = tune_requests(spec, target, watched.prompts, watched.caps)[: watched.count]
    with replacing(out) as temporary, temporary.open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(COLUMNS)
        for name, decoder in tqdm(decoders.items(), desc="profile", unit="arm"):
            rows.writerow([name, len(requests), *_profile(decoder, requests, target.device)])


def _profile(
    decoder: Decoder, requests: Sequence[Request], device: torch.device
) -> list[float | str]:
    """Each request plainly and under the clock, one after the other, after a warm-up of both."""
    clock, watched = PhaseClock(device), None
    if isinstance(decoder, EngineDecoder):
        watched = WatchedDecoder(decoder, clock)
    steps, timed, whole = 0, 0.0, 0.0
    for place, request in enumerate([requests[0], *requests]):
        if place == 1:  # masks and allocators are paid for
            clock.seconds = dict.fromkeys(clock.seconds, 0.0)
            steps, timed, whole = 0, 0.0, 0.0
        run = run_timed(decoder, request, device)
        steps, timed = steps + len(run.records) - 1, timed + run.decode_seconds
        if watched:
            whole += run_timed(watched, request, device).decode_seconds
    if not watched:
        return [steps, timed, *[""] * (2 + len(PHASES))]
    return [steps, timed, whole, *clock.seconds.values()]
