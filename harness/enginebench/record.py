"""The format of the engine benchmark's ``engine.json``: every timed sample, in seconds."""

from typing_extensions import TypedDict

from harness.experiment.records import Machine


class Forward(TypedDict):
    """Samples of a forward of ``rows`` rows behind ``context`` tokens in the cache."""

    rows: int
    context: int
    seconds: list[float]


class Products(TypedDict):
    """Samples of the matrix products alone of a forward of ``rows`` rows."""

    rows: int
    seconds: list[float]


class Round(TypedDict):
    """One timed decode without its prefill.

    ``seconds``, ``steps`` and ``tokens`` of the decode phase; ``committed``: tokens in the cache
    before a step, mean over the steps.
    """

    seconds: float
    steps: int
    tokens: int
    committed: float


class Decodes(TypedDict):
    """The decodes of an arm behind a prompt of ``context`` tokens."""

    arm: str
    context: int
    rounds: list[Round]


class Sizes(TypedDict):
    """Bytes of the weights that a step reads, and of a token's keys and values."""

    weights: int
    per_token: int


class Copies(TypedDict):
    """Copies of ``buffer`` bytes: bytes read and written per second, as median and samples."""

    buffer: int
    rate: float
    rates: list[float]


class FirpStep(TypedDict):
    """The size of FIRP's steps: nodes of the tree, pseudo rows, and the layer where these enter."""

    nodes: int
    steps: int
    entry_layer: int
    projections: str


class GridFacts(TypedDict):
    """What was timed, see :class:`harness.enginebench.rounds.Grid`."""

    rows: list[int]
    contexts: list[int]
    repeats: int
    rounds: int
    tokens: int


class TargetFacts(TypedDict):
    """The target that was timed, its machine and the software."""

    name: str
    weights: str
    dtype: str
    attention: str
    layers: int
    hidden_size: int
    vocabulary: int
    parameters: int
    bytes: Sizes
    firp: FirpStep | None
    machine: Machine
    packages: dict[str, str]
    commit: str
    sources: str
    state_before: dict[str, float]


class Record(TargetFacts):
    """The whole file. ``left_out``: why arms are missing; ``operations``: of torch, per layer."""

    grid: GridFacts
    copy: Copies
    forwards: list[Forward]
    other_forwards: dict[str, list[Forward]]
    products: list[Products]
    operations: dict[str, float]
    decodes: list[Decodes]
    left_out: dict[str, str]
    disturbance: dict[str, float]
    state_after: dict[str, float]
