"""The types of ``facts.json``, which the tables step writes for the reports beside the tables."""

from typing import NotRequired

from typing_extensions import TypedDict

from harness.experiment.records import Left, Machine
from harness.experiment.steps import Outline


class Check(TypedDict):
    """What was checked, whether it holds (None where that is unknown), and a detail."""

    what: str
    holds: bool | None
    detail: str


class AgainFacts(TypedDict):
    """The A/A test of a model, see :func:`harness.analysis.again.again`."""

    ratio: float | None
    p_value: float | None
    sessions: int
    passes: bool | None
    reason: str | None


class Twins(TypedDict):
    """The upstream package and its twin in the engine: what is equal, and the twin's speedup."""

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
    """What reports say in words: the content of ``facts.json``.

    ``uses``: whose training and tuning each arm decodes with. ``copy_shares``: by model, the share
    of copy bandwidth at which autoregressive decoding reads.
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
    uses: dict[str, str]
    copy_shares: NotRequired[dict[str, float]]
