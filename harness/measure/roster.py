"""The arms that still run: one that runs out of memory leaves, and the others go on without it.

Errors are caught around an arm's whole turn, outside the clock.
"""

import gc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from harness.data.prompts import Prompt
from harness.decoder import Decoder, Request
from harness.errors import HarnessError, first_line, named, out_of_memory
from harness.experiment.records import BASELINE, Left
from harness.measure.machine import TakenMemory, device_state
from harness.measure.timing import TimedRun, run_timed

OUT_OF_MEMORY = "out of memory"


@dataclass(frozen=True, slots=True)
class Turn:
    """A timed run. ``state``: the machine before it, what disturbed it, and the memory it took."""

    run: TimedRun
    state: dict[str, float]


class _RefusedError(Exception):
    """An arm was refused memory; ``reason``: the error's first line."""

    def __init__(self, arm: str, reason: str) -> None:
        super().__init__(arm, reason)
        self.arm, self.reason = arm, reason


class Roster:
    """Runs the arms of a session in turns.

    ``failed``: arm -> why it left. ``unwritten``: records of arms that left, which the caller has
    yet to write before the rows of the next prompt.
    """

    def __init__(
        self, arms: Mapping[str, Decoder], device: torch.device, failed: dict[str, str]
    ) -> None:
        self._arms, self._device = arms, device
        self._warmup: Sequence[tuple[Prompt, Request]] = ()
        self.failed = dict(failed)
        self.unwritten: list[Left] = []

    def warm_up(self, asked: Sequence[tuple[Prompt, Request]]) -> None:
        """Run every arm on held-out prompts, which sets up allocators, masks and code paths."""
        self._warmup = asked
        for prompt, request in asked:
            self.turns(prompt, request, list(self._arms))

    def turns(self, prompt: Prompt, request: Request, order: Sequence[str]) -> dict[str, Turn]:
        """One turn of every arm that still runs, in that order.

        Where an arm leaves, the others are warmed up and take their turns again: none of their
        times may hold the cost of the memory that it took and freed.
        """
        while True:
            running = [arm for arm in order if arm not in self.failed]
            try:
                return {arm: self._turn(arm, prompt, request) for arm in running}
            except _RefusedError as refused:
                self._leave(refused.arm, refused.reason, prompt)
            self.warm_up(self._warmup)

    def _turn(self, arm: str, prompt: Prompt, request: Request) -> Turn:
        state, taken = device_state(self._device), TakenMemory(self._device)
        with named(f"{arm}, prompt {prompt.prompt_id}"):
            try:
                run = run_timed(self._arms[arm], request, self._device)
                return Turn(run, state | run.disturbance | taken.most())
            except Exception as error:
                if not out_of_memory(error):
                    raise
                refused = _RefusedError(arm, first_line(error))
        # The error is gone by now, and with it the frames that held the arm's tensors.
        gc.collect()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        raise refused

    def _leave(self, arm: str, reason: str, prompt: Prompt) -> None:
        where = f"{arm}, prompt {prompt.prompt_id}: {OUT_OF_MEMORY}"
        if arm == BASELINE:
            raise HarnessError(f"{where} ({reason}); nothing can be compared without it")
        print(f"{where}; it is left out from here on ({reason})")
        self.failed[arm] = OUT_OF_MEMORY
        left = Left(arm=arm, failure=OUT_OF_MEMORY, failed_at=prompt.prompt_id, error=reason)
        self.unwritten.append(left)
