"""The arguments of an experiment's steps, narrow, so that a change re-runs only what it affects.

Every type here is passed to a job as JSON on its command line, and parsed from it there.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, NotRequired

from pydantic import ConfigDict, Field
from typing_extensions import TypedDict

from harness.errors import HarnessError
from harness.experiment.records import Labels
from harness.files import Name


def as_json(value: object) -> str:
    """JSON for a command line: equal values give equal texts."""
    return json.dumps(value, sort_keys=True)


@dataclass(frozen=True, slots=True)
class Source:
    """Where a split's records are. Exactly one of ``path`` (a local .jsonl, .json or .parquet file
    with the hub's columns) and ``hub`` (id of a data set).

    After ``skip`` records at most ``first`` are kept, and of these every ``every``-th one is taken.
    ``name`` (of a configuration), ``revision`` and ``split`` are the hub's. ``file`` is the path of
    the same records inside a folder of question sets (``data`` in a config).
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    path: str | None = None
    hub: str | None = None
    name: str | None = None
    revision: str | None = None
    split: str | None = None
    skip: Annotated[int, Field(ge=0)] = 0
    first: Annotated[int, Field(ge=1)] | None = None
    every: Annotated[int, Field(ge=1)] = 1
    file: str | None = None

    def within(self, folder: Path) -> "Source":
        """The same records from their file in ``folder``, in place of the hub."""
        if self.file is None:
            return self
        path = folder / self.file
        if not path.is_file():
            raise HarnessError(f"data: no file {path}, expected records of {self.hub} there")
        return Source(str(path), skip=self.skip, first=self.first, every=self.every)

    def __post_init__(self) -> None:
        if (self.path is None) == (self.hub is None):
            raise HarnessError(f"data source {self}: expected exactly one of path and hub")
        if self.hub is not None and self.split is None:
            raise HarnessError(f"data source '{self.hub}': no split, expected the name of one")


@dataclass(frozen=True, slots=True)
class GgufSource:
    """A GGUF file: a local one (``path``), or ``file`` inside a package's wheel of ``version``.

    ``sha256`` is that of the GGUF file; a wheel's must be named, since it comes from elsewhere.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    path: str | None = None
    package: Annotated[str, Field(pattern="^[A-Za-z0-9][A-Za-z0-9._-]*$")] | None = None
    version: Annotated[str, Field(pattern="^[0-9A-Za-z.+!-]+$")] | None = None
    file: str | None = None
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None

    def __post_init__(self) -> None:
        wheel = (self.package, self.version, self.file, self.sha256)
        if all(wheel) == bool(self.path) or (self.path and any(wheel[:3])):
            raise HarnessError(
                "gguf: expected either path (a local file), or package, version, file and sha256 "
                "(a file inside a wheel)"
            )

    @property
    def where(self) -> str:
        """The file as errors and records name it."""
        return self.path or f"{self.package}=={self.version}: {self.file}"

    @property
    def given(self) -> dict[str, str]:
        """The fields that are set, as a config has them."""
        return {key: value for key, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, slots=True)
class Split:
    """A data set's split: its records, how they are prompted, and which prompts are too long.

    ``few_shot``: a source whose questions and reference answers are put before each question.
    ``longest_prompt`` is in tokens.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    dataset: str
    source: Source
    longest_prompt: int
    few_shot: Source | None = None


@dataclass(frozen=True, slots=True)
class Freeze:
    """A split and where its frozen prompts go.

    ``cap``: new tokens of an answer, at most. ``first_turns``: where the target's own answers to
    first turns go, for data sets with second turns. ``shards``: among how many jobs the questions
    are shared out later.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    split: Split
    out: str
    first_turns: str | None = None
    cap: int = 0
    shards: int = 1


class Sampled(TypedDict):
    """How tokens are drawn: see :class:`harness.decoder.Sampling`."""

    temperature: float
    top_p: float
    seed: int
    block_temperature: NotRequired[float]


class SessionStep(TypedDict):
    """A session or a shard of one: its labels, the seed of the orders in which arms run, the cap on
    answers in tokens, and how many prompts every arm decodes as a warm-up. Without ``sampling``
    decoding is greedy.
    """

    labels: Labels
    seed: int
    max_new_tokens: int
    warmup: int
    sampling: NotRequired[Sampled]


class Cap(TypedDict):
    """The longest answer to a question of a data set, in tokens."""

    max_new_tokens: int


class DraftSizes(TypedDict):
    """Methods with calibrated trees, the sizes that tables compare, and those that are timed."""

    methods: list[Name]
    sizes: NotRequired[list[int]]
    timed: NotRequired[list[int]]


class Outline(TypedDict):
    """What tables and reports know of an experiment; ``methods`` are all arms in config order.

    ``uncut`` names the data sets with whole answers, ``weights`` models with packed weights;
    ``variants`` are as configured.
    """

    experiment: Name
    title: NotRequired[str]
    stand_in: NotRequired[bool]
    models: list[Name]
    datasets: dict[Name, Cap]
    methods: list[Name]
    sessions: int
    shards: NotRequired[int]
    warmup: int
    seed: NotRequired[int]
    threads: NotRequired[int]
    dtype: NotRequired[str]
    device: NotRequired[str]
    draft_sizes: DraftSizes
    uncut: NotRequired[list[Name]]
    weights: NotRequired[Mapping[Name, str]]
    sampling: NotRequired[Sampled]
    variants: NotRequired[dict[Name, dict[str, object]]]
