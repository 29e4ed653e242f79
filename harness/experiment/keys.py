"""The parts of a config: question sets, targets, draft sizes and the engine benchmark.

The text below each key is its description in the schema.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from harness.experiment.arms import Settings
from harness.experiment.steps import GgufSource, Source
from harness.files import Name
from harness.numbers import Count


class Part(BaseModel):
    """A mapping of the config; unknown keys are refused by name."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True
    )
    # keys of which exactly one must be present
    one_of: ClassVar[tuple[str, ...]] = ()

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, mapping: Any) -> Any:
        if isinstance(mapping, Mapping):
            for key in mapping:
                if key not in cls.model_fields:
                    known = ", ".join(cls.model_fields)
                    raise ValueError(f"unknown key '{key}', expected one of {known}")
            present = [key for key in cls.one_of if mapping.get(key) is not None]
            if cls.one_of and len(present) != 1:
                names = " and ".join(present) or "none"
                raise ValueError(f"{names}, expected exactly one of {', '.join(cls.one_of)}")
        return mapping


class StandIn(Part):
    """Records to generate per split."""

    train: Count | None = None
    tune: Count
    test: Count


class Splits(Part):
    """Where the records of each split are."""

    train: Source | None = None
    tune: Source
    test: Source


class Sampling(Part):
    """How every arm's tokens are drawn from the target's distribution."""

    temperature: Annotated[float, Field(gt=0)]
    """above 0; logits are divided by it"""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """tokens are drawn from the smallest set of likeliest ones that holds this share of the
    probability"""
    block_temperature: Annotated[float, Field(gt=0)] | None = None
    """temperature where a line of a code block begins, behind a newline and an indent (AdapT)"""
    seed: Annotated[int, Field(ge=0)] = 0
    """seed of all draws; every prompt has noise of its own, the same for all arms and sessions"""


class Uncut(Part):
    """An untimed autoregressive pass over test questions, for the quality of whole answers."""

    first: Count
    """how many questions: the first ones of the test split's source after its `skip`, whatever its
    `first` and `every` say"""
    max_new_tokens: Count
    """replaces the cap under which arms are timed"""


class Dataset(Part):
    """A question set: generated (``stand_in``), or from files or the hub (``splits``)."""

    one_of = ("stand_in", "splits")

    stand_in: StandIn | None = None
    """records to generate per split"""
    splits: Splits | None = None
    few_shot: Source | None = None
    """a source whose questions and reference answers are put before each question; keep them out of
    the splits"""
    max_new_tokens: Count
    """the cap of every arm's answers"""
    longest_prompt: Count
    """in tokens; questions with a longer one are dropped before freezing, and counted"""
    uncut: Uncut | None = None
    """questions that are also answered once, in batches and untimed, to score the quality of
    answers that the timed cap does not cut short"""

    @property
    def has_train(self) -> bool:
        """Whether there is a train split, which methods learn from."""
        return any(given and given.train for given in (self.stand_in, self.splits))


class Model(Part):
    """A target, and what the methods have for this target alone: parts and settings."""

    one_of = ("path", "hub", "gguf", "pretrain")

    path: str | None = None
    """a folder in the hub's form"""
    hub: str | None = None
    """the hub's id of a model"""
    revision: str | None = None
    """branch, tag or commit on the hub"""
    chat: Annotated[str, StringConstraints(pattern=r"^(tokenizer|plain|fschat:.+)$")] | None = None
    """how a turn is prompted, by the tokenizer's own template, as plain text, or by a conversation
    of FastChat (fschat:vicuna_v1.1)"""
    attention: Literal["sdpa", "eager"] | None = None
    """attention of the target, sdpa unless named; medusa_llm always runs eager attention"""
    execution: Literal["eager", "static", "compiled", "graphs"] | None = None
    """how the engine runs its steps: eager (the default); static, eagerly with shapes that follow
    the number of rows and, in steps of 128 tokens, the context; and on CUDA also graphs, which are
    these shapes captured, or compiled, by torch.compile"""
    layers: Literal["fused", "stock"] | None = None
    """fused (the default) where the architecture has such layers (llama, mistral, qwen2, qwen3;
    attention sdpa, full weights), or stock, transformers' own"""
    weights: Literal["full", "int8", "nf4"] | None = None
    """full (the default), or packed by bitsandbytes as they are read (extra quantised), int8 as in
    LLM.int8(), nf4 as in QLoRA. int8 rounds activations too, and columns with an outlier in any row
    of a forward are set apart for all its rows, so that rows change each other's logits and answers
    may differ from the baseline's"""
    device_map: Literal["auto", "balanced", "sequential"] | None = None
    """how accelerate spreads the layers over all devices of the kind of `device`; without it the
    model is on `device` alone. It has not been run on a machine with two devices"""
    gguf: GgufSource | None = None
    """a GGUF file that is dequantised to a plain folder under results/targets first (extra gguf), a
    local one (path), or one inside a wheel (package, version, file, sha256)"""
    parts: str | None = None
    """a folder of ready-made parts of the methods for this target, with their record"""
    pretrain: dict[str, Any] | None = None
    """a target to train first, by the sizes, sources and tokens of a recipe, as in
    workflows/README.md (keys in harness/pretrain/corpus.py, Pretraining)"""
    methods: dict[Name, Settings] = {}
    """settings of methods for this model, laid over those under methods below, key by key"""


class Engine(Part):
    """What `snakemake engine` times: nothing unless shapes or models are named."""

    shapes: list[Literal["tiny", "135m", "small", "medium", "7b", "13b"]] = []
    """sizes of published models, with random weights"""
    models: list[Name] = []
    """models of the config that have a folder; timed with the engine's own layers and, beside them,
    stock ones, whatever `layers` says"""
    rows: Annotated[list[Count], Field(min_length=1)]
    """how many rows each timed forward has"""
    contexts: Annotated[list[Count], Field(min_length=1)]
    """tokens in the cache"""
    repeats: Count = 15
    """timings of each forward"""
    rounds: Count = 5
    """decodes of each arm at each context"""
    tokens: Annotated[int, Field(ge=3)] = 32
    """committed by each decode"""
    compile: bool = True
    """whether arms by torch.compile are timed too"""
    acceptance: list[str] = []
    """profiles for predicted speedups"""


class Sizes(Part):
    """Methods with calibrated trees. Their acceptance length is predicted for every number of draft
    tokens up to the largest of `sizes`, compared at `sizes`, and measured at `timed`.
    """

    methods: list[Name] = []
    sizes: Annotated[list[Count], Field(min_length=1)] = [1]
    timed: list[Count] = []

    @model_validator(mode="after")
    def _timed_are_tried(self) -> "Sizes":
        for size in self.timed:
            if size > max(self.sizes):
                raise ValueError(f"timed: {size}, expected at most {max(self.sizes)}, as in sizes")
        return self
