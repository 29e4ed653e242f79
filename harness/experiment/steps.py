"""What each step of an experiment is given: narrow, so that a change re-runs only what it changes.

Every type here goes to a job as JSON on its command line, and is read back from it.
"""

from typing import NotRequired

from typing_extensions import TypedDict

from harness.files import Name


class Cap(TypedDict):
    """The longest answer to a question of a data set, in tokens."""

    max_new_tokens: int


class DraftSizes(TypedDict):
    """Methods with calibrated trees, the sizes that tables compare, and those that are timed."""

    methods: list[Name]
    sizes: NotRequired[list[int]]
    timed: NotRequired[list[int]]


class Outline(TypedDict):
    """What tables and reports know of an experiment; ``methods`` are all arms, in their order.

    ``weights`` names models with packed weights, ``variants`` the method of each variant.
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
    weights: NotRequired[dict[Name, str]]
    variants: NotRequired[dict[Name, Name]]
