"""How long a training lasts, and its learning rate on the way: by seconds, or by steps."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from tqdm import tqdm

from harness.numbers import Count

WARM_UP = 0.04  # share of a training in which the learning rate rises
LOW_RATE = 0.5  # share of the peak; only below it may a tune loss that does not fall end a training


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """Settings that all trainings by ``methods.shared.training`` have, in optimiser steps, answers
    and positions; ``learning_rate`` is the peak of the schedule.

    ``training_steps``: length of a training without a budget; with a budget only its seconds count.
    ``patience``: a training without a budget stops after this many evaluations without a better
    tune loss, counted while the learning rate is low (``LOW_RATE``).
    ``batch`` and ``positions``: in equal time, many small batches with all positions reach a lower
    loss than fewer large ones (the sweeps of mini-precise.yaml try 12 and 64 for FIRP and Medusa).
    ``tries``: alternative settings, each first trained for a twentieth of the time or the steps;
    the training proper uses the best of them, for the seconds that are left.
    """

    learning_rate: float = 1e-3
    training_steps: Count = 500
    batch: Count = 6
    positions: Count = 96  # trained positions per answer at most, drawn at random
    step_decay: float = 1.0  # weight of step k in the loss: step_decay ** (k - 1)
    evaluate_every: Count = 200
    patience: Count = 4
    evaluation_batch: Count = 16  # answers at a time in evaluations, which cover all positions
    tries: tuple[Mapping[str, Any], ...] = ()


@dataclass(slots=True)
class Progress:
    """What a resumed training needs besides the module and the optimiser."""

    step: int = 0
    seconds: float = 0.0
    evaluation_seconds: float = 0.0  # of the last evaluation
    curves: list[dict[str, float]] = field(default_factory=list)
    best_loss: float = math.inf
    best_state: dict[str, torch.Tensor] = field(default_factory=dict)
    worse: int = 0  # evaluations since the best one, at a low rate


class Clock:
    """How much of a training is over: of its seconds if they are limited, else of its steps.

    ``progress.seconds`` of a resumed training are those before it was killed. Time is reserved for
    the last evaluation, so that it too is inside the seconds.
    """

    def __init__(
        self, seconds: float | None, settings: TrainingSettings, progress: Progress
    ) -> None:
        self._seconds, self._settings, self._progress = seconds, settings, progress
        self._started = time.monotonic() - progress.seconds

    def elapsed(self) -> float:
        """Seconds of training so far, evaluations included."""
        return time.monotonic() - self._started

    def done(self) -> float:
        """Share of the training that is over; 1 or more at its end."""
        if self._seconds is None:
            return self._progress.step / self._settings.training_steps
        room = self._seconds - self._progress.evaluation_seconds
        return self.elapsed() / room if room > 0 else 1.0

    def ended(self) -> bool:
        """Whether no step is left, or without a budget the tune loss has stopped falling."""
        patient = self._seconds is not None or self._progress.worse < self._settings.patience
        return self.done() >= 1 or not patient

    def bar(self, name: str) -> "tqdm[Any]":
        """A progress bar over the seconds, or over the steps."""
        whole = self._settings.training_steps if self._seconds is None else round(self._seconds)
        unit = "step" if self._seconds is None else "s"
        return tqdm(total=whole, initial=self._at(), desc=name, unit=unit)

    def show(self, bar: "tqdm[Any]") -> None:
        """Move the bar to where the training is."""
        bar.update(self._at() - bar.n)

    def _at(self) -> int:
        return self._progress.step if self._seconds is None else int(self.elapsed())


def schedule(done: float) -> float:
    """Learning-rate factor after the share ``done`` of a training: a linear warm-up, then a cosine
    down to 2 %.
    """
    if done < WARM_UP:
        return max(done, WARM_UP / 10) / WARM_UP
    falling = min(1.0, (done - WARM_UP) / (1 - WARM_UP))
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * falling))
