"""What a method hands to the harness: its settings, its decoder, and how it is trained and tuned.

A method is one file or folder in ``methods/`` plus one line in ``methods/__init__.py``.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from statistics import fmean
from typing import Any

from harness.decoder import Decoder, Request
from harness.engine.target import Target
from harness.errors import HarnessError
from harness.files import checked, parsed
from harness.measure.step_cost import ForwardCost
from harness.numbers import with_numbers


@dataclass(frozen=True, slots=True)
class Answer:
    """A prompt and the target's own greedy answer to it, as token ids."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Job:
    """What a method may use to train or tune: the target, its own answers, requests, a folder.

    ``train`` and ``tune`` are the target's greedy answers to the two splits; ``requests`` are
    those of the tune split, to time candidates on. Nothing of the test split is in reach.
    ``seconds``: what this training or tuning may take, None where the settings alone say so.
    ``forwards``: what forwards of the target cost here, if it was timed.
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
        """Tokens in the arena at a middling step: half an answer behind a prompt, on average."""
        return fmean(len(r.prompt_ids) + r.max_new_tokens / 2 for r in self.requests)

    @property
    def seconds_left(self) -> float:
        """Of ``seconds``, since the job was made; infinite without a limit."""
        if self.seconds is None:
            return math.inf
        return self.seconds - (time.monotonic() - self.started)


@dataclass(frozen=True, slots=True)
class NoSettings:
    """For methods that have none."""


@dataclass(frozen=True, slots=True)
class Method:
    """One way of decoding.

    ``build`` makes the decoder from the target, the settings and the folder that training and
    tuning wrote to (None without either). ``train`` writes what it learns to ``job.folder``;
    ``tune`` writes ``setting.json`` there, chosen on the tune split alone; it returns the seconds
    of an interrupted tuning that it went on with, if any. ``examine`` writes tables of what its
    training gave, for readers only: no budget counts it.
    """

    build: Callable[[Target, Any, Path | None], Decoder]
    settings: type = NoSettings
    lossless: bool = True
    train: Callable[[Job], None] | None = None
    tune: Callable[[Job], float | None] | None = None
    examine: Callable[[Job], None] | None = None
    # decoders with the best tree of each of these draft sizes, as methods.shared.trials.Trial
    sized: Callable[[Job, Sequence[int]], list[Any]] | None = None
    # a setting to decode with where none was tuned, from default settings and the trained parts
    plain: Callable[[Any, Path | None], dict[str, Any]] | None = None
    reference: bool = field(default=False)  # a yardstick: shown, never ranked


def parse_settings(name: str, method: Method, given: dict[str, Any] | None) -> Any:
    """The method's settings dataclass from a config mapping; unknown or mistyped keys are refused.

    Lists become tuples, since settings are frozen.
    """
    where = f"methods.{name}"
    given = with_numbers(checked(dict[str, Any], given or {}, where))
    known = {f.name for f in fields(method.settings)}
    for key in given:
        if key not in known:
            expected = ", ".join(sorted(known)) or "none"
            raise HarnessError(f"{where}: unknown setting '{key}'; expected {expected}")
    return parsed(method.settings, given, where)
