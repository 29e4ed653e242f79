"""The cost of sublayers on this machine, measured once so that a search can be repeated exactly."""

import math
import random
import statistics
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import torch

from harness.engine import Context, Drafter, EngineDecoder, Request, Sublayer, Target
from harness.files import read_json, sha256_json, write_json
from harness.measure.machine import fingerprint, machine, source_hash
from harness.measure.timing import run_timed, synchronise
from harness.method import Job
from methods.self_speculative.drafter import ExitRule, SkipDrafter, kept

REPEATS = 25
# Calibrations at most, and how far the one-row forward of one may be off a decode step, as a share.
TRIES, TOLERANCE = 3, 0.1
Timed = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Calibration:
    """Median seconds: of a draft without sublayers (embedding, head, choice, host work), of one
    attention, one MLP, a full forward of 1, 2, .. rows, and an autoregressive decode ``step``.
    """

    draft_base: float
    attention: float
    mlp: float
    verify: tuple[float, ...]
    step: float = math.nan

    @property
    def off(self) -> float:
        """How far the one-row forward is off the autoregressive step, as a share of that step."""
        return abs(self.verify[0] / self.step - 1)

    def draft(self, keep: Collection[Sublayer]) -> float:
        """Seconds of one draft token."""
        attentions = sum(kind == "attention" for _, kind in keep)
        return self.draft_base + attentions * self.attention + (len(keep) - attentions) * self.mlp


def calibrate(job: Job, longest: int, file: Path) -> Calibration:
    """Measure what sublayers cost, or read from ``file`` what was measured here for this target.

    What is timed runs behind as many tokens as a median tune prompt and half the cap on its answer
    have. A calibration is repeated if the time of its one-row forward is more than a tenth off that
    of an autoregressive step, measured along with it; after three tries the closest one counts.
    """
    target = job.target
    host = fingerprint(machine(target.devices, target.product_kind))
    prompt = _middle_of_an_answer(job.requests)
    mode = [str(target.dtype), target.execution, target.config._attn_implementation]
    key = sha256_json([target.weights_hash, mode, longest, len(prompt), host, source_hash()])
    if file.is_file() and (stored := read_json(file)).pop("key", None) == key:
        return Calibration(**{**stored, "verify": tuple(stored["verify"])})
    closest = min(_until_close(job, longest, prompt), key=lambda attempt: attempt.off)
    write_json(file, asdict(closest) | {"key": key})
    return closest


def _until_close(job: Job, longest: int, prompt: list[int]) -> Iterator[Calibration]:
    """Up to ``TRIES`` calibrations, until one is close to the step of autoregressive decoding."""
    for _ in range(TRIES):
        attempt = replace(_measured(job.target, longest, prompt), step=_autoregressive_step(job))
        yield attempt
        if attempt.off <= TOLERANCE:
            return


def _autoregressive_step(job: Job) -> float:
    """Seconds per step of autoregressive decoding: the median of three runs of one request."""
    request = _middling(job.requests)
    decoder = EngineDecoder(job.target, Drafter())
    runs = [run_timed(decoder, request, job.target.device) for _ in range(4)]
    return statistics.median(run.decode_seconds / max(1, len(run.records) - 1) for run in runs[1:])


@torch.inference_mode()
def _measured(target: Target, longest: int, prompt: list[int]) -> Calibration:
    """One calibration, with all but the last token of ``prompt`` in the arena."""
    layers = len(target.layers)
    attention = frozenset((i, "attention") for i in range(layers))
    mlp = kept(layers, attention)
    rule = ExitRule(longest, threshold=0.0)  # never stops early
    drafters = {keep: SkipDrafter(target, keep, rule) for keep in (frozenset(), attention, mlp)}
    target.begin(len(prompt) + longest + 1)
    target.prefill(prompt[:-1])
    context = Context(target, prompt, longest + 1)

    def verify(rows: int) -> Timed:
        ids = [prompt[-1]] * rows
        return lambda: target.logits(context.forward(ids)[0]).argmax().item()

    drafts: list[Timed] = [partial(drafter.draft, context) for drafter in drafters.values()]
    verifies = [verify(rows) for rows in range(1, longest + 2)]
    nothing, attentions, mlps, *steps = _medians([*drafts, *verifies], target.device)
    base = nothing / longest
    return Calibration(
        base,
        (attentions / longest - base) / layers,
        (mlps / longest - base) / layers,
        tuple(steps),
    )


def _middle_of_an_answer(requests: Sequence[Request]) -> list[int]:
    """A prompt of median length, followed by its own tokens again up to half its answer's cap."""
    request = _middling(requests)
    ids = list(request.prompt_ids)
    return ids + (ids * request.max_new_tokens)[: request.max_new_tokens // 2]


def _middling(requests: Sequence[Request]) -> Request:
    """The request whose prompt has the median length."""
    return sorted(requests, key=lambda request: len(request.prompt_ids))[len(requests) // 2]


def _medians(runs: Sequence[Timed], device: torch.device) -> list[float]:
    """Median seconds of each run over ``REPEATS`` rounds, after a warm-up. Every round has all runs
    in a random order, so that a temporary disturbance of the machine affects all alike.
    """
    rng = random.Random(0)
    for run in runs:
        run()
    seconds: list[list[float]] = [[] for _ in runs]
    for _ in range(REPEATS):
        for place in rng.sample(range(len(runs)), len(runs)):
            synchronise(device)
            started = time.perf_counter()
            runs[place]()
            synchronise(device)
            seconds[place].append(time.perf_counter() - started)
    return [statistics.median(samples) for samples in seconds]
