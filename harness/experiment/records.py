"""The records of a session: a row for every prompt and arm, or why an arm left, and provenance.

The measurement writes these records, and the analysis reads them. Seconds are wall seconds; lists
named ``step_...`` have one entry per step, the prefill's first.
"""

from typing import Annotated, NotRequired, TypeAlias

from pydantic import Field
from typing_extensions import TypedDict, TypeIs

from harness.files import Name, TokenId

# The arm that all others are compared with, and the same arm again, which shows the noise.
BASELINE, AGAIN = "autoregressive", "autoregressive_again"
# What the profile splits an answer's decoding into.
PREFILL = "prefill"
PHASES = ("draft", "tree", "forward", "choose", "commit")

Machine: TypeAlias = dict[str, str | int | None]
_Counts = list[Annotated[int, Field(ge=0)]]
_Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Labels(TypedDict):
    """A session's place in an experiment; for a shard, also its number and how many there are."""

    experiment: NotRequired[Name]
    model: Name
    dataset: Name
    session: int
    shard: NotRequired[int]
    shards: NotRequired[int]


class Place(Labels):
    """The prompt of a record, and the hash of its token ids.

    ``fingerprint`` identifies the machine. ``block`` numbers the processes that measured a session
    file, from 0: a resumed session is the next. ``last_of_prompt`` marks a prompt's last record.
    """

    prompt_id: str
    question_id: str
    category: NotRequired[str]
    turn: NotRequired[int]
    ids_sha256: str
    fingerprint: str
    block: NotRequired[int]
    last_of_prompt: NotRequired[bool]


class Outcome(TypedDict):
    """An arm's answer, step by step, and its seconds; ``step_rows`` counts the rows of each step's
    forward, ``step_path`` lists the draft nodes that were accepted.
    """

    output_ids: list[TokenId]
    step_tokens: Annotated[_Counts, Field(min_length=1)]
    step_draft_size: _Counts
    step_rows: _Counts
    step_path: list[list[Annotated[int, Field(ge=1)]]]
    prefill_seconds: _Seconds
    decode_seconds: _Seconds
    stop_reason: str


class Gap(TypedDict):
    """The gap between the logits of two tokens in the target's own forward, see ``Divergence``."""

    margin: float
    exact_margin: NotRequired[float]
    rounding: NotRequired[float]


class Divergence(Gap):
    """Where an answer first differs from the baseline's: the token's index, and logit gaps there.

    ``margin``: the gap between the two answers' tokens in the target's own forward; infinite where
    one answer only ends earlier. ``exact_margin``: the same in float32. ``rounding``: the largest
    difference of a logit to its float32 value. ``baseline_gap``, ``arm_gap``: the gap between the
    two highest logits from which the baseline and the arm chose. ``own_width``: whether the arm
    leaves the baseline even when it accepts no draft.
    """

    index: int
    baseline_gap: NotRequired[float | None]
    arm_gap: NotRequired[float | None]
    own_width: NotRequired[bool | None]


class Row(Place, Outcome):
    """An arm's answer to a prompt, one line of a session file.

    ``order``: the arm's place among those that answered the prompt, from 0. ``device_state``: load,
    clocks and what other processes took of the cores, see :mod:`harness.measure.machine`.
    ``extra_bytes``: bytes held beside the target's weights. ``distance``: of an arm that is not
    lossless, the total variation distance between its and the target's distribution of each token
    after those before, averaged over the answer but its last token.
    """

    arm: Name
    order: int
    text: str
    divergence: Divergence | None
    device_state: dict[str, float]
    extra_bytes: NotRequired[int]
    distance: NotRequired[float | None]


class Left(TypedDict):
    """Why an arm left its session, at which prompt, and the error's first line."""

    arm: str
    failure: str
    failed_at: str
    error: str


class Failure(Left):
    """The record of an arm that left; it stands before the rows of the next measured prompt."""

    model: str
    dataset: str
    session: int
    prompt_id: NotRequired[str]
    block: NotRequired[int]
    last_of_prompt: NotRequired[bool]


Record: TypeAlias = Row | Failure


def is_failure(record: Record) -> TypeIs[Failure]:
    """Whether a record says that an arm left, in place of an answer."""
    return "failure" in record


class Header(TypedDict):
    """What must be unchanged for an interrupted session to go on: hashes of its options, of the
    prompts, the warm-up, the target's weights and config, of what each arm learnt and of the
    sources; the model as it was asked for, the machine, and versions.
    """

    options: str
    prompts: str
    warmup: str
    weights: str
    model_config: str
    stops: list[int]
    methods: dict[str, str]
    sources: str
    model: dict[str, str | None]
    machine: Machine
    packages: dict[str, str]
    quantised_by: dict[str, str]


class Provenance(Header):
    """Where the rows of a session come from, in a file beside them.

    By arm: whether it is lossless, whether it is a yardstick (``reference``), and the most bytes
    that it held beside the weights.
    ``uses``: the arm or method whose training and tuning each arm decodes with; ``trained`` and
    ``tuned``: whether an arm's method, or the one that it uses, is trained or tuned at all.
    ``sampling``: temperature (0: greedy), top-p, seed and, if any, block temperature of all draws.
    """

    commit: str
    dtype: str
    lossless: dict[str, bool]
    reference: dict[str, bool]
    parameters: int
    extra_bytes: dict[str, int]
    uses: dict[str, str]
    trained: dict[str, bool]
    tuned: dict[str, bool]
    sampling: dict[str, float]
