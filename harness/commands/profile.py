"""Where each arm's decode time goes, on a few tune prompts: drafting beside everything else."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from harness.commands.arms import Arms, build_decoders
from harness.commands.methods import tune_requests
from harness.decoder import Decoder, Request
from harness.files import replacing
from harness.measure.profile import run_watched
from harness.models import ModelSpec, load_target

COLUMNS = ("method", "requests", "decode_steps", "decode_seconds", "draft_seconds")


@dataclass(frozen=True, slots=True)
class Watched:
    """What is watched: the first ``count`` tune requests, and where the arms' parts are."""

    prompts: Sequence[Path]
    caps: dict[str, int]
    folders: Path
    count: int


def write_profile(spec: ModelSpec, arms: Arms, watched: Watched, out: Path) -> None:
    """One line an arm; ``draft_seconds`` is empty for arms outside the engine."""
    target = load_target(spec)
    decoders = build_decoders(target, arms, watched.folders)
    requests = tune_requests(spec, target, watched.prompts, watched.caps)[: watched.count]
    with replacing(out) as temporary, temporary.open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(COLUMNS)
        for name, decoder in tqdm(decoders.items(), desc="profile", unit="arm"):
            rows.writerow([name, len(requests), *_watch(decoder, requests, target.device)])


def _watch(
    decoder: Decoder, requests: Sequence[Request], device: torch.device
) -> tuple[int, float, float | str]:
    """Decode steps and seconds, and the seconds of them that the drafter takes."""
    run_watched(decoder, requests[0], device)  # masks and allocators are paid for here
    steps, seconds = 0, 0.0
    drafting: float | str = ""
    for request in requests:
        run, draft_seconds = run_watched(decoder, request, device)
        steps += len(run.records) - 1
        seconds += run.decode_seconds
        if draft_seconds is not None:
            drafting = float(drafting or 0.0) + draft_seconds
    return steps, seconds, drafting
