"""Stock ``transformers`` generate: the baseline that everybody runs, outside our engine.

It keeps its own cache. Tokens arrive through a streamer that calls back after each step in the same
thread, so its records are time-stamped like those of every other decoder.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers.generation.logits_process import LogitsProcessor, LogitsProcessorList
from transformers.generation.streamers import BaseStreamer

from harness.data.answers import plain_generation
from harness.decoder import Decoder, Emit, EmittingDecoder, Request, StepRecord
from harness.engine.choice import TokenChoice
from harness.engine.target import SPARE_ROWS, Target
from harness.errors import HarnessError
from harness.files import write_json
from harness.method import Job, Method, Setting
from methods.shared.choices import SETTING, read_values
from methods.shared.trials import TRIALS, Trial, choose

CACHES = ("dynamic", "static")


@dataclass(frozen=True, slots=True)
class Settings:
    """``cache``: dynamic, static, or fastest (both are timed on ``tuning_requests`` requests)."""

    cache: str = "fastest"
    tuning_requests: int = 6

    def __post_init__(self) -> None:
        if self.tuning_requests < 1:
            raise HarnessError(
                f"methods.hf_generate.tuning_requests: {self.tuning_requests}, expected >= 1"
            )
        if self.cache not in (*CACHES, "fastest"):
            raise HarnessError(
                f"methods.hf_generate.cache: '{self.cache}', expected dynamic, static or fastest"
            )


class _Streamer(BaseStreamer):
    """Emits a record of what each step commits; the first call carries the prompt and is skipped.

    ``rows`` of the current forward are noted by a hook, since generate does not report them.
    """

    def __init__(self, request: Request, emit: Emit) -> None:
        self._request, self._emit = request, emit
        self._emitted = -1
        self.rows = 1

    def put(self, value: Tensor) -> None:
        if self._emitted < 0:
            self._emitted = 0
            return
        tokens, _ = self._request.cut(self._emitted, value.flatten().tolist())
        # The first forward also carries the prompt, so the number of its draft rows is unknown.
        rows = self.rows if self._emitted else len(tokens)
        self._emit(StepRecord(tuple(tokens), rows - 1, rows, tuple(range(1, len(tokens)))))
        self._emitted += len(tokens)

    def note_rows(self, module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        """Forward pre-hook on the target: note how many rows it runs."""
        self.rows = kwargs["input_ids"].shape[1]

    def end(self) -> None:
        """Nothing is buffered."""


class _Drawn(LogitsProcessor):
    """The engine's token choice: generate's argmax of the scores made here is the engine's draw."""

    def __init__(self, choice: TokenChoice) -> None:
        self._choice = choice

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        ends = (
            [(row[0], row[-1]) for row in input_ids[:, -2:].tolist()]
            if self._choice.by_text
            else ()
        )
        return self._choice.scores(scores, [input_ids.shape[1]] * len(scores), ends)


def _drawn(request: Request) -> LogitsProcessorList:
    """The processors of a request; none for greedy decoding, where the argmax is the choice."""
    if request.sampling.temperature == 0:
        return LogitsProcessorList()
    return LogitsProcessorList([_Drawn(TokenChoice(request.sampling))])


class HfGenerate(EmittingDecoder):
    """``model.generate`` at its defaults, by the engine's token choice; ``options`` are passed on.

    ``presized``: a static cache gets as many slots as the engine's arena has, without its spare
    ones. By default it grows with the requests: the cost of a step would depend on the order of
    prompts, and each growth would trigger a compilation in the middle of a timed answer.
    """

    def __init__(self, target: Target, options: dict[str, Any], *, presized: bool = False) -> None:
        self._model: Any = target.model
        self._device = target.device
        self._options = options
        self._arena = target.arena
        self._presized = presized
        self._longest = 0

    def extra_bytes(self) -> int:
        """Bytes of its own cache at the longest sequence so far; a static one is whole at once."""
        return self._arena.bytes_per_slot * self._longest

    def _slots(self, needed: int) -> dict[str, int]:
        """generate's option for the number of cache slots; empty unless ``presized``."""
        if not self._presized:
            return {}
        return {"max_cache_len": max(needed, self._arena.capacity - SPARE_ROWS)}

    @contextmanager
    def _watch(self, streamer: _Streamer) -> Iterator[None]:
        """Report the rows of every forward to the streamer where there are drafts. Without drafts
        a forward has one row, and a hook would be traced into a compiled forward.
        """
        if not self._options.keys() & {"assistant_model", "prompt_lookup_num_tokens"}:
            yield
            return
        hook = self._model.register_forward_pre_hook(streamer.note_rows, with_kwargs=True)
        try:
            yield
        finally:
            hook.remove()

    def decode(self, request: Request, emit: Emit) -> None:
        ids = torch.tensor([request.prompt_ids], device=self._device)
        stops = sorted(request.stop_ids)
        needed = ids.shape[1] + request.max_new_tokens
        slots = self._slots(needed)
        self._longest = max(self._longest, needed, *slots.values())
        streamer = _Streamer(request, emit)
        with plain_generation(self._model), self._watch(streamer):
            self._model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=request.max_new_tokens,
                do_sample=False,
                eos_token_id=stops or None,
                pad_token_id=stops[0] if stops else 0,
                logits_processor=_drawn(request),
                streamer=streamer,
                **slots,
                **self._options,
            )


def with_cache(target: Target, cache: str) -> HfGenerate:
    """``generate`` with the named cache; dynamic is its default, so no option is passed for it."""
    if cache == "dynamic":
        return HfGenerate(target, {})
    return HfGenerate(target, {"cache_implementation": cache}, presized=True)


def build(target: Target, settings: Settings, folder: Path) -> Decoder:
    """Decode with the cache that the settings name, or the one that tuning found faster."""
    cache = settings.cache
    if cache == "fastest":
        cache = read_values(folder, ("cache",))["cache"]
    return with_cache(target, cache)


def tune(job: Job) -> None:
    """Time both caches on the tune split and keep the faster one. Nothing is timed where the
    settings name a cache.
    """
    settings: Settings = job.settings
    if settings.cache != "fastest":
        (job.folder / TRIALS).unlink(missing_ok=True)  # of an earlier config
        write_json(job.folder / SETTING, {"cache": settings.cache})
        return
    longest = max(len(r.prompt_ids) + r.max_new_tokens for r in job.requests)
    job.target.begin(longest + SPARE_ROWS)  # a static cache is as long as the arena
    trials = [
        Trial({"cache": cache}, with_cache(job.target, cache), default=cache == "dynamic")
        for cache in CACHES
    ]
    few = replace(job, requests=job.requests[: settings.tuning_requests])
    best = choose(few, "hf_generate", trials)
    write_json(job.folder / SETTING, best.setting)


def plain(settings: Settings, folder: Path) -> Setting:
    """The setting without tuning: generate's default cache."""
    return {"cache": "dynamic"}


METHOD = Method(build, Settings, tune=tune, plain=plain, reference=True)
