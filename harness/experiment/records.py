"""What a session leaves: a row for every prompt and arm, or why an arm left it, and its provenance.

The measurement writes these records, and the analysis reads them. Seconds are wall seconds, lists
named ``step_...`` have one entry a step, the prefill's first.
"""

from typing import Annotated, NotRequired, TypeAlias

from pydantic import Field
from typing_extensions import TypedDict, TypeIs

from harness.files import Name, TokenId

# The arm that all others are compared with, and the same once more, which shows the noise.
BASELINE, AGAIN = "autoregressive", "autoregressive_again"
# What the profile splits an answer's decoding into.
PREFILL = "prefill"
PHASES = ("draft", "tree", "forward", "choose", "commit")

Machine: TypeAlias = dict[str, str | int | None]
_Counts = list[Annotated[int, Field(ge=0)]]
_Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Labels(TypedDict):
    """Where in an experiment a session stands; a shard of it says which of how many it is."""

    experiment: NotRequired[Name]
    model: Name
    dataset: Name
    session: int
    shard: NotRequired[int]
    shards: NotRequired[int]


class Place(Labels):
    """The prompt that a record is of, and the hash of its token ids.

    ``fingerprint`` names the machine. ``block`` counts the prompts of a session file, and
    ``last_of_prompt`` ends each of them.
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
    """An arm's answer, step by step, and its seconds; ``step_rows`` counts the rows of the step's
    forward, ``step_path`` names the draft nodes that were accepted.
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
    """The logits of two tokens by the target's own forward, see :class:`Divergence`."""

    margin: float
    exact_margin: NotRequired[float]
    rounding: NotRequired[float]


class Divergence(Gap):
    """Where an answer leaves the baseline's: the index of the token, and gaps of logits there.

    ``margin``: between the two tokens, by the target's own forward; infinite where one answer only
    ends earlier. ``exact_margin``: the same in float32. ``rounding``: the farthest that a logit is
    from its float32 value. ``baseline_gap``, ``arm_gap``: between the two highest logits that
    either chose from. ``own_width``: whether the arm leaves the baseline even when it accepts
    nothing.
    """

    index: int
    baseline_gap: NotRequired[float | None]
    arm_gap: NotRequired[float | None]
    own_width: NotRequired[bool | None]


class Row(Place, Outcome):
    """An arm's answer to a prompt, one line of a session file.

    ``order``: the arm's place among those that answered the prompt, from 0. ``device_state``: load,
    clocks and what other processes took of the cores, see :mod:`harness.measure.machine`.
    ``extra_bytes``: held beside the target's weights.
    """

    arm: Name
    order: int
    text: str
    divergence: Divergence | None
    device_state: dict[str, float]
    extra_bytes: NotRequired[int]


class Left(TypedDict):
    """Why an arm left its session, at which prompt, and in whose words."""

    arm: str
    failure: str
    failed_at: str
    error: str


class Failure(Left):
    """The record of an arm that left; it stands before the rows of a prompt."""

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
    """What an interrupted session must agree on to go on: hashes of its options, of the prompts,
    the warm-up, the target's weights and config, of what each arm learnt and of the sources; the
    model as it was asked for, the machine, and versions.
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
    """What the rows of a session come from, beside them in a file.

    By arm: whether it is lossless, whether it is a yardstick (``reference``), and the most bytes
    that it held beside the weights.
    ``uses``: the arm or method whose training and tuning each arm decodes with; ``trained`` and
    ``tuned``: whether there is a training or a tuning behind it. Older files do not say so.
    ``sampling``: temperature (0: greedy), top-p and seed of all draws.
    """

    commit: str
    dtype: str
    lossless: dict[str, bool]
    reference: dict[str, bool]
    parameters: int
    extra_bytes: dict[str, int]
    uses: NotRequired[dict[str, str]]
    trained: NotRequired[dict[str, bool]]
    tuned: NotRequired[dict[str, bool]]
    sampling: NotRequired[dict[str, float]]
