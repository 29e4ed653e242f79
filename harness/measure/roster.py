"""The arms that still run: one that runs out of memory leaves, and the others go on without it.

What goes wrong is caught around an arm's whole turn, outside the clock.
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
    """A timed run, the machine's state before it and what disturbed it."""

    run: TimedRun
    state: dict[str, float]


class _RefusedError(Exception):
    """An arm was refused memory; ``said``: by whom."""

    def __init__(self, arm: str, said: str) -> None:
        super().__init__(arm, said)
        self.arm, self.said = arm, said


class Roster:
    """``failed``: arm -> why it left. ``unwritten``: what rows have to say of those that left."""

    def __init__(
        self, arms: Mapping[str, Decoder], device: torch.device, failed: dict[str, str]
    ) -> None:
        self._arms, self._device = arms, device
        self._warmup: Sequence[tuple[Prompt, Request]] = ()
        self.failed = dict(failed)
        self.unwritten: list[Left] = []

    def warm_up(self, asked: Sequence[tuple[Prompt, Request]]) -> None:
        """Every arm on held-out prompts: allocators, masks and code paths are paid for before."""
        self._warmup = asked
        for prompt, request in asked:
            self.turns(prompt, request, list(self._arms))

    def turns(self, prompt: Prompt, request: Request, order: Sequence[str]) -> dict[str, Turn]:
        """One turn of every arm that still runs, in that order.

        Where an arm leaves, the others are warmed up and take their turns again: no time of theirs
        may hold what its taking and giving back of memory cost.
        """
        while True:
            running = [arm for arm in order if arm not in self.failed]
            try:
                return {arm: self._turn(arm, prompt, request) for arm in running}
            except _RefusedError as refused:
                self._leave(refused.arm, refused.said, prompt)
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
        # The error is gone, and with it the frames that hold the arm's tensors.
        gc.collect()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        raise refused

    def _leave(self, arm: str, said: str, prompt: Prompt) -> None:
        where = f"{arm}, prompt {prompt.prompt_id}: {OUT_OF_MEMORY}"
        if arm == BASELINE:
            raise HarnessError(f"{where} ({said}); nothing can be compared without it")
        print(f"{where}; it is left out from here on ({said})")
        self.failed[arm] = OUT_OF_MEMORY
        left = Left(arm=arm, failure=OUT_OF_MEMORY, failed_at=prompt.prompt_id, error=said)
        self.unwritten.append(left)
