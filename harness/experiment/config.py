"""An experiment as its config describes it: one file of workflows/config, checked once.

``firp-bench schema`` writes its JSON schema, with what each key means. A config may say
``extends: mini`` and then only what is other than there. Settings of methods are checked by each
method's own class, in a job of its own before any long one.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, TypeVar, get_args

import yaml
from pydantic import AfterValidator, Field, StringConstraints, model_validator

from harness.datasets import DATASETS
from harness.errors import HarnessError
from harness.experiment.arms import GREEDY_ONLY, KNOWN, Arm, Arms, Settings, parse_arm
from harness.experiment.keys import Count, Dataset, Engine, Model, Part, Sampling, Sizes
from harness.experiment.records import AGAIN, BASELINE
from harness.files import Name, parsed
from harness.numbers import with_numbers

T = TypeVar("T")
SplitName: TypeAlias = Literal["train", "tune", "test", "uncut"]
SPLITS: tuple[SplitName, ...] = get_args(SplitName)
Given: TypeAlias = Settings | None
YARDSTICK = "hf_generate"
CONFIGS = Path("workflows/config")
# folders under results/ that are no experiments
TAKEN = ("reference", "rebuilt-mini-target", "targets")


def _known(where: str, name: T, known: Iterable[str]) -> T:
    """``name``, which is to be one of ``known``."""
    known = list(known)
    if name not in known:
        raise ValueError(f"{where}: '{name}', expected one of {', '.join(known)}")
    return name


DatasetName: TypeAlias = Annotated[
    Name, AfterValidator(lambda name: _known("data set", name, DATASETS))
]


class Experiment(Part):
    """One experiment: targets, question sets, and the arms that answer them."""

    extends: str | None = None
    """a config of workflows/config over which this one is laid, mappings key by key; a model, data
    set or variant that is null in this one is left out"""
    experiment: Name
    """name of the folder under results/; three names are taken"""
    title: str
    """what page 1 of the reports says below its heading"""
    stand_in: bool
    """whether questions or target are generated; every report says so on page 1"""
    data: str | None = None
    """a folder of question sets, in which each source's `file` is read in place of the hub"""
    target: Literal["shipped", "rebuild"] = "shipped"
    """mini's target, as shipped or made again by rebuild_mini_target (about an hour)"""
    seed: Annotated[int, Field(ge=0)] = 0
    """of stand-ins, training, search and all random orders"""
    threads: Count = 2
    """of torch, part of the machine's fingerprint in every row; --cores only limits how many jobs
    run"""
    device: Annotated[str, StringConstraints(pattern="^(cpu|cuda(:[0-9]+)?)$")] = "cpu"
    """where targets run"""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """of the target and of every arm"""
    sessions: Count = 5
    """processes per model and data set that each measure every arm on every question; intervals
    need two"""
    shards: Count = 1
    """jobs that share out the questions of a session; each warms up anew"""
    sampling: Sampling | None = None
    """how tokens are drawn, in tuning as in sessions; without it every token is the likeliest one.
    What methods learn from are greedy answers in any case; a method that cannot draw is no arm
    then"""
    warmup: Count = 2
    """prompts of the tune split that every arm decodes before a session is timed"""
    models: Annotated[dict[Name, Model], Field(min_length=1)]
    """targets, each by a name of one's own"""
    datasets: Annotated[dict[DatasetName, Dataset], Field(min_length=1)]
    """names as in harness/datasets/__init__.py"""
    methods: dict[Name, Given]
    """arms of every session; settings are checked by each method's own class"""
    variants: dict[Name, Settings] = Field(default_factory=dict)
    """further arms: a method of the table under another name (`of`), its settings laid over those
    under methods; trained and tuned by itself, or with the parts of another arm (`uses`), which it
    then only tunes"""
    budget: Annotated[float, Field(gt=0)] | None = None
    """wall seconds that each method may spend on training and tuning together, three quarters of
    them on training; all of them on tuning where parts are shipped"""
    parts: Literal["trained", "shipped"] = "trained"
    """whether methods are trained in front of the user, or what they learn is shipped, in the
    folder that each model names under its own `parts`"""
    sweeps: dict[Name, list[Settings]] = Field(default_factory=dict)
    """per trained method, variants of its settings, each laid over the configured ones key by key,
    trained and tuned without a budget; beside them the `seed` and `seconds` of a training, and the
    `studies` that it belongs to"""
    draft_sizes: Sizes = Sizes()
    """methods with calibrated trees, compared by their number of draft tokens"""
    engine: Engine = Engine(rows=[1], contexts=[1], repeats=1, rounds=1, tokens=3, compile=False)
    """what `snakemake engine` times"""

    @model_validator(mode="after")
    def _names_fit(self) -> "Experiment":
        if self.experiment in TAKEN:
            raise ValueError(f"experiment: '{self.experiment}' is taken, expected another name")
        for arm in (BASELINE, AGAIN, YARDSTICK):
            if arm not in self.methods:
                raise ValueError(f"methods: no '{arm}', expected it in every experiment")
        for model, spec in self.models.items():
            for name in spec.methods:
                _known(f"models.{model}.methods", name, self.arm_names)
            if self.parts == "shipped" and not spec.parts:
                raise ValueError(
                    f"parts: shipped, but models.{model} names no folder of parts; expected "
                    f"models.{model}.parts"
                )
        for name in self.engine.models:
            _known("engine.models", name, self.models)
            if self.models[name].hub:
                raise ValueError(f"engine.models: '{name}' is on the hub, expected a folder")
        self._variants_fit()
        return self

    def _variants_fit(self) -> None:
        """Only variants say whose they are; each of a method of the table, by a name of its own."""
        plain = {f"methods.{name}": given or {} for name, given in self.methods.items()}
        for model, spec in self.models.items():
            plain |= {f"models.{model}.methods.{n}": given for n, given in spec.methods.items()}
        for where, given in plain.items():
            for key in ("of", "uses"):
                if key in given:
                    raise ValueError(f"{where}: '{key}', expected it under variants only")
        for name, variant in self.variants.items():
            if name in KNOWN or name in self.methods:
                raise ValueError(f"variants: '{name}' is a method's name, expected another one")
            _known(f"variants.{name}.of", variant.get("of"), KNOWN)

    @property
    def arm_names(self) -> list[str]:
        """Methods, then variants: all arms of a session, in the order of the config; where tokens
        are drawn, without those that cannot.
        """
        names = [*self.methods, *self.variants]
        if self.sampling is None:
            return names
        of = {name: self.variants.get(name, {}).get("of", name) for name in names}
        return [name for name in names if of[name] not in GREEDY_ONLY]

    def given(self, model: str, arm: str) -> Settings:
        """An arm's configured settings, with a model's own in place of them.

        A variant's are laid over those of its method.
        """
        own, variant = self.models[model].methods, self.variants.get(arm, {})
        of = variant.get("of", arm)
        settings = (self.methods.get(of) or {}) | own.get(of, {})
        return settings if of == arm else settings | variant | own.get(arm, {})

    def arm(self, model: str, name: str) -> Arm:
        """An arm, or a method whose training an arm uses, with its settings for a model."""
        return parse_arm(name, self.given(model, name))

    def arms(self, model: str) -> Arms:
        """All arms of a session."""
        return {name: self.arm(model, name) for name in self.arm_names}

    def prepared(self, model: str) -> Arms:
        """The arms that are trained or tuned, listed or not: those of sessions and of the curve, or
        whose training and tuning these use.
        """
        named = [self.arm(model, name) for name in (*self.arm_names, *self.draft_sizes.methods)]
        names = [name for arm in named for name in (arm.folder, arm.shares) if name]
        return {name: self.arm(model, name) for name in dict.fromkeys(names)}


def whole(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """A config laid over the shipped one that it ``extends``, mappings key by key."""
    if "extends" not in config:
        return config
    files = {file.stem: file for file in sorted(CONFIGS.glob("*.yaml"))}
    name, own = config["extends"], {key: config[key] for key in config if key != "extends"}
    if name not in files:
        raise HarnessError(f"config: extends: '{name}', expected one of {', '.join(files)}")
    laid = _over(whole(yaml.safe_load(files[name].read_text())), own)
    for key in ("models", "datasets", "variants"):
        if isinstance(laid.get(key), Mapping):
            laid[key] = {name: one for name, one in laid[key].items() if one is not None}
    return laid


def _over(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    laid = {
        key: _over(base[key], value)
        if isinstance(value, Mapping) and isinstance(base.get(key), Mapping)
        else value
        for key, value in own.items()
    }
    return {**base, **laid}


def parse_experiment(config: Mapping[str, Any]) -> Experiment:
    """The experiment of a config, every value and name checked.

    Raises HarnessError: one line with the key, what was found and what was expected.
    """
    experiment = parsed(Experiment, with_numbers(whole(config)), "config")
    for model in experiment.models:
        for name in experiment.variants:
            _require_same_training(experiment, model, experiment.arm(model, name))
        experiment.prepared(model)  # every name is a method's
        for name in experiment.sweeps:
            experiment.arm(model, name)
    return experiment


def _require_same_training(experiment: Experiment, model: str, arm: Arm) -> None:
    """A variant that uses another's training has one of its method, with equal settings."""
    if not arm.uses:
        return
    where, used = f"variants.{arm.name}", experiment.arm(model, arm.uses)
    base = arm.entry.uses or arm.entry.parts_of or arm.of
    if used.of != base or not used.trained:
        raise HarnessError(
            f"{where}.uses: '{arm.uses}', expected an arm of '{base}' with a training of its own"
        )
    if arm.shares and not arm.entry.parts_of:
        for key in sorted(arm.training.keys() | used.training.keys()):
            own, other = (one.training.get(key) for one in (arm, used))
            if own != other:
                raise HarnessError(
                    f"{where}.{key}: {own!r}, but '{arm.uses}', whose training it uses, has "
                    f"{other!r}; expected the same"
                )
