"""What the tables' step tells the reports, beside the tables: ``facts.json`` and its parts."""

from typing import NotRequired

from typing_extensions import TypedDict

from harness.experiment.records import Left, Machine
from harness.experiment.steps import Outline


class Check(TypedDict):
    """What was checked, whether it holds (None where that cannot be told), and a detail."""

    what: str
    holds: bool | None
    detail: str


class Alone(TypedDict):
    """What a data set shows by itself: the ratio with its interval, and what noise would hide."""

    ratio: float | None
    low: float | None
    high: float | None
    half_width: float | None
    detectable: float | None


class AgainFacts(TypedDict):
    """The A/A test of a model, see :class:`harness.analysis.again.Again`."""

    ratio: float | None
    p_value: float | None
    sessions: int
    passes: bool | None
    reason: str | None
    sets: dict[str, Alone]


class Twins(TypedDict):
    """What the package and the twin did alike, and how many times as fast the twin is."""

    prompts: int
    runs: int
    same_answers: int
    same_steps: int
    times_as_fast: float
    low: float | None
    high: float | None


class FailureFacts(Left):
    """Where an arm failed, and why."""

    model: str
    dataset: str
    session: int


class PageOne(TypedDict):
    """What page 1 of a report says, by model/data set, and the hashes that tie tables to rows."""

    experiment: Outline
    row_files: dict[str, str]
    questions: dict[str, int]
    dropped_questions: dict[str, int]
    looping: dict[str, bool]


class Facts(PageOne):
    """What reports say in words, as ``facts.json`` holds it.

    ``uses``: whose training and tuning each arm decodes with; runs made before it was recorded do
    not say so. ``copy_shares``: by model, how near autoregressive decoding comes to the memory's
    speed.
    """

    machine: Machine
    packages: dict[str, str]
    commit: str
    parameters: dict[str, int]
    rows: int
    failures: list[FailureFacts]
    a_a: dict[str, AgainFacts]
    unranked: dict[str, str]
    twins: dict[str, Twins]
    detectable: dict[str, float]
    checklist: list[Check]
    divergences: dict[str, int]
    uses: NotRequired[dict[str, str]]
    copy_shares: NotRequired[dict[str, float]]
