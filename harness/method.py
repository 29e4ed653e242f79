"""What a method hands to the harness: its settings, its decoder, and how it is trained and tuned.

A method is one file or folder in ``methods/`` plus one line in ``methods/__init__.py``.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from statistics import fmean
from typing import Any, TypeAlias

from harness.decoder import Decoder, Request
from harness.engine.target import Target
from harness.errors import HarnessError
from harness.files import checked, parsed
from harness.measure.step_cost import ForwardCost
from harness.numbers import with_numbers

Setting: TypeAlias = dict[str, Any]  # what tuning chooses, as setting.json holds it


@dataclass(frozen=True, slots=True)
class Answer:
    """A prompt and the target's own greedy answer to it, as token ids."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Job:
    """What a method may use to train or tune: the target, its answers, requests, a folder.

    ``train`` and ``tune`` are the target's greedy answers to the two splits; ``requests`` are those
    of the tune split, for timing candidates. Nothing of the test split is within reach.
    ``seconds`` limits this training or tuning; None if only the settings limit it. ``forwards``:
    the cost of the target's forwards on this machine, if it was measured.
    """

    target: Target
    settings: Any
    folder: Path
    seed: int
    train: Sequence[Answer] = ()
    tune: Sequence[Answer] = ()
    requests: Sequence[Request] = ()
    data_hash: str = ""
    seconds: float | None = None
    forwards: ForwardCost | None = None
    started: float = field(default_factory=time.monotonic)

    @property
    def context(self) -> float:
        """Tokens in the K/V cache halfway through an answer of full length, mean over requests."""
        return fmean(len(r.prompt_ids) + r.max_new_tokens / 2 for r in self.requests)

    @property
    def seconds_left(self) -> float:
        """What is left of ``seconds`` since the job started; infinite without a limit."""
        if self.seconds is None:
            return math.inf
        return self.seconds - (time.monotonic() - self.started)


@dataclass(frozen=True, slots=True)
class NoSettings:
    """The settings of a method that has none."""


@dataclass(frozen=True, slots=True)
class Method:
    """One way of decoding.

    ``build`` makes the decoder from the target, the settings and the folder that training and
    tuning wrote to, which is missing where a method has neither. ``train`` writes what it learns to
    ``job.folder``. ``tune`` chooses a setting on the tune split alone and writes it to
    ``setting.json`` there. ``examine`` writes tables about the trained parts, for readers only; its
    time counts for no budget. ``fits`` refuses, before anything runs, settings that do not go with
    a target's config (transformers').
    """

    build: Callable[[Target, Any, Path], Decoder]
    settings: type = NoSettings
    lossless: bool = True
    train: Callable[[Job], None] | None = None
    tune: Callable[[Job], None] | None = None
    examine: Callable[[Job], None] | None = None
    # for each draft size a decoder with the best tree of that size, as methods.shared.trials.Trial
    sized: Callable[[Job, Sequence[int]], list[Any]] | None = None
    # the setting to decode with if none was tuned, from the settings and the trained parts
    plain: Callable[[Any, Path], Setting] | None = None
    fits: Callable[[Any, Any], None] | None = None
    reference: bool = False  # a yardstick: shown, never ranked


def parse_settings(name: str, method: Method, mapping: Mapping[str, Any] | None) -> Any:
    """The method's settings dataclass from a config mapping; unknown or mistyped keys are refused.

    Lists become tuples, since settings are frozen.
    """
    where = f"methods.{name}"
    mapping = with_numbers(checked(dict[str, Any], mapping or {}, where))
    names = {f.name for f in fields(method.settings)}
    for key in mapping:
        if key not in names:
            expected = ", ".join(sorted(names)) or "none"
            raise HarnessError(f"{where}: unknown setting '{key}'; expected {expected}")
    settings: Any = parsed(method.settings, mapping, where)
    if getattr(settings, "tuning_rounds", 1) < 1:
        raise HarnessError(f"{where}.tuning_rounds: {settings.tuning_rounds}, expected >= 1")
    return settings
