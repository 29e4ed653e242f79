"""What sublayers cost on this machine, measured once, so that a search can be repeated exactly."""

import statistics
import time
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from harness.engine.drafter import Context
from harness.engine.target import Sublayer, Target
from harness.files import read_json, sha256_json, write_json
from harness.measure.machine import fingerprint, machine
from harness.measure.timing import synchronise
from methods.self_speculative.drafter import kept

REPEATS = 25


@dataclass(frozen=True, slots=True)
class Calibration:
    """Seconds, medians: a draft of no sublayer (embedding, head, host work), one attention, one
    MLP, and a full forward of 1, 2, .. rows.
    """

    draft_base: float
    attention: float
    mlp: float
    verify: tuple[float, ...]

    def draft(self, keep: Collection[Sublayer]) -> float:
        """Seconds of one draft token."""
        attentions = sum(kind == "attention" for _, kind in keep)
        return self.draft_base + attentions * self.attention + (len(keep) - attentions) * self.mlp


@torch.inference_mode()
def calibrate(target: Target, prompt: tuple[int, ...], longest: int, file: Path) -> Calibration:
    """Measure behind ``prompt``, or read what an earlier search of this target measured
    on this machine."""
    here = fingerprint(machine(target.device))
    key = sha256_json([target.weights_hash, str(target.dtype), longest, here])
    if file.is_file() and (known := read_json(file)).pop("key", None) == key:
        return Calibration(**{**known, "verify": tuple(known["verify"])})
    layers = len(target.layers)
    target.begin(len(prompt) + longest + 1)
    target.prefill(prompt[:-1])
    context = Context(target, list(prompt), longest + 1)
    attention = frozenset((i, "attention") for i in range(layers))
    mlp = kept(layers, attention)

    def draft(keep: frozenset[Sublayer]) -> Callable[[], object]:
        return lambda: target.logits(context.forward([prompt[-1]], keep=keep)[0]).argmax().item()

    def verify(rows: int) -> Callable[[], object]:
        ids = [prompt[-1]] * rows
        return lambda: target.logits(context.forward(ids)[0]).argmax().item()

    base = _median(draft(frozenset()), target.device)
    found = Calibration(
        base,
        (_median(draft(attention), target.device) - base) / layers,
        (_median(draft(mlp), target.device) - base) / layers,
        tuple(_median(verify(rows), target.device) for rows in range(1, longest + 2)),
    )
    write_json(file, asdict(found) | {"key": key})
    return found


def _median(run: Callable[[], object], device: torch.device) -> float:
    """Seconds of ``run``, median of many after a warm-up."""
    run()
    seconds = []
    for _ in range(REPEATS):
        synchronise(device)
        started = time.perf_counter()
        run()
        synchronise(device)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)
