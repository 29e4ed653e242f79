"""An experiment as its config describes it: one file of workflows/config, checked once.

``firp-bench schema`` prints its JSON schema, which describes every key. A config may say
``extends: mini`` and then holds only what differs from mini. Settings of methods are checked by
each method's own class, in a separate job before any long one.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, TypeAlias, TypeVar, get_args

import yaml
from pydantic import AfterValidator, Field, StringConstraints, model_validator
from typing_extensions import TypedDict

from harness.datasets import DATASETS
from harness.errors import HarnessError
from harness.experiment.arms import GREEDY_ONLY, KNOWN, OF_VARIANTS, Arm, Arms, Settings, parse_arm
from harness.experiment.keys import Dataset, Engine, Model, Part, Sampling, Sizes
from harness.experiment.records import AGAIN, BASELINE
from harness.files import Name, parsed
from harness.numbers import Count, with_numbers

T = TypeVar("T")
SplitName: TypeAlias = Literal["train", "tune", "test", "uncut"]
SPLITS: tuple[SplitName, ...] = get_args(SplitName)
Given: TypeAlias = Settings | None
YARDSTICK = "hf_generate"
CONFIGS = Path("workflows/config")
# folders under results/ that are no experiments
TAKEN = ("reference", "rebuilt-mini-target", "targets")


def _require_known(where: str, name: T, known: Iterable[str]) -> T:
    """Return ``name``; raise ValueError where it is not one of ``known``."""
    known = list(known)
    if name not in known:
        raise ValueError(f"{where}: '{name}', expected one of {', '.join(known)}")
    return name


DatasetName: TypeAlias = Annotated[
    Name, AfterValidator(lambda name: _require_known("data set", name, DATASETS))
]


class Experiment(Part):
    """One experiment: targets, question sets, and the arms that answer them."""

    extends: str | None = None
    """a config of workflows/config over which this one is laid, mappings key by key; a model, data
    set or variant that is null in this one is left out"""
    experiment: Name
    """name of the folder under results/; `reference`, `rebuilt-mini-target` and `targets` are taken
    by others"""
    title: str
    """what page 1 of the reports says below its heading"""
    stand_in: bool
    """whether questions or target are generated; every report says so on page 1"""
    data: str | None = None
    """a folder of question sets, in which each source's `file` is read in place of the hub"""
    target: Literal["shipped", "rebuild"] = "shipped"
    """mini's target, as shipped or made again by rebuild_mini_target (about an hour)"""
    seed: Annotated[int, Field(ge=0)] = 0
    """seed of stand-ins, training, search and all random orders"""
    threads: Count = 2
    """torch's threads, part of the machine's fingerprint in every row; --cores only limits how many
    jobs run"""
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
    Methods learn from greedy answers in any case; with it, methods that cannot draw tokens are left
    out"""
    warmup: Count = 2
    """prompts of the tune split that every arm decodes before a session is timed"""
    models: Annotated[dict[Name, Model], Field(min_length=1)]
    """targets, each under a name of your choice"""
    datasets: Annotated[dict[DatasetName, Dataset], Field(min_length=1)]
    """names as in harness/datasets/__init__.py"""
    methods: dict[Name, Given]
    """arms of every session; settings are checked by each method's own class"""
    variants: dict[Name, Settings] = Field(default_factory=dict)
    """further arms: a method of the table under another name (`of`), its settings laid over those
    under methods; trained and tuned by itself, with a `seed` of its own if it names one, or with
    the parts of another arm (`uses`), which it then only tunes"""
    budget: Annotated[float, Field(gt=0)] | None = None
    """wall seconds that each method may spend on training and tuning together, three quarters of
    them on training; all of them on tuning where parts are shipped"""
    parts: Literal["trained", "shipped"] = "trained"
    """whether methods are trained in this experiment, or their parts come ready-made from the
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
        if self.target == "rebuild" and self.parts == "shipped":
            raise ValueError("target: rebuild, but shipped parts fit the shipped target alone")
        for model, spec in self.models.items():
            for name in spec.methods:
                _require_known(f"models.{model}.methods", name, [*self.methods, *self.variants])
            if self.parts == "shipped" and not spec.parts:
                raise ValueError(
                    f"parts: shipped, but models.{model} names no folder of parts; expected "
                    f"models.{model}.parts"
                )
        self._engine_fits()
        self._variants_fit()
        return self

    def _engine_fits(self) -> None:
        """The engine benchmark times models that have a folder."""
        for name in self.engine.models:
            _require_known("engine.models", name, self.models)
            if self.models[name].hub:
                raise ValueError(f"engine.models: '{name}' is on the hub, expected a folder")

    def _variants_fit(self) -> None:
        """Only variants have ``OF_VARIANTS``; each is of a known method and has a new name."""
        plain = {f"methods.{name}": settings or {} for name, settings in self.methods.items()}
        for model, spec in self.models.items():
            plain |= {f"models.{model}.methods.{n}": own for n, own in spec.methods.items()}
        for where, settings in plain.items():
            for key in OF_VARIANTS:
                if key in settings:
                    raise ValueError(f"{where}: '{key}', expected it under variants only")
        for name, variant in self.variants.items():
            if name in KNOWN or name in self.methods:
                raise ValueError(f"variants: '{name}' is a method's name, expected another one")
            _require_known(f"variants.{name}.of", variant.get("of"), KNOWN)

    @property
    def arm_names(self) -> list[str]:
        """All arms of a session in the order of the config, methods before variants; where tokens
        are drawn, without the arms that are greedy only.
        """
        names = [*self.methods, *self.variants]
        if self.sampling is None:
            return names
        method_of = {name: self.variants.get(name, {}).get("of", name) for name in names}
        return [name for name in names if method_of[name] not in GREEDY_ONLY]

    def given(self, model: str, arm: str) -> Settings:
        """An arm's configured settings, with those under the model laid over them.

        A variant's settings are laid over those of its method.
        """
        overrides, variant = self.models[model].methods, self.variants.get(arm, {})
        of = variant.get("of", arm)
        settings = (self.methods.get(of) or {}) | overrides.get(of, {})
        return settings if of == arm else settings | variant | overrides.get(arm, {})

    def arm(self, model: str, name: str) -> Arm:
        """An arm, or a method whose training an arm uses, with its settings for a model."""
        return parse_arm(name, self.given(model, name))

    def arms(self, model: str) -> Arms:
        """All arms of a session."""
        return {name: self.arm(model, name) for name in self.arm_names}

    def prepared(self, model: str, names: Iterable[str] | None = None) -> Arms:
        """The arms whose training and tuning the arms ``names`` need: for each, the one whose
        folder it decodes with, and the one whose parts it shares. By default ``names`` are the arms
        of sessions and of the draft-size curve.
        """
        if names is None:
            names = (*self.arm_names, *self.draft_sizes.methods)
        arms = [self.arm(model, name) for name in names]
        names = [name for arm in arms for name in (arm.folder, arm.shares) if name]
        return {name: self.arm(model, name) for name in dict.fromkeys(names)}


class _OfTraining(TypedDict):
    """What a sweep's variant may say of its training, beside settings."""

    seed: NotRequired[Annotated[int, Field(ge=0)]]
    seconds: NotRequired[Annotated[float, Field(gt=0)] | None]


def _of_training(variant: Settings) -> Settings:
    return {key: variant[key] for key in _OfTraining.__annotations__ if key in variant}


def whole(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Lay a config over the shipped one that it ``extends``, mappings key by key."""
    if "extends" not in config:
        return config
    files = {file.stem: file for file in sorted(CONFIGS.glob("*.yaml"))}
    name, changes = config["extends"], {key: config[key] for key in config if key != "extends"}
    if name not in files:
        raise HarnessError(f"config: extends: '{name}', expected one of {', '.join(files)}")
    merged = _overlay(whole(yaml.safe_load(files[name].read_text())), changes)
    for key in ("models", "datasets", "variants"):
        if isinstance(merged.get(key), Mapping):
            merged[key] = {name: item for name, item in merged[key].items() if item is not None}
    return merged


def _overlay(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    changed = {
        key: _overlay(base[key], value)
        if isinstance(value, Mapping) and isinstance(base.get(key), Mapping)
        else value
        for key, value in changes.items()
    }
    return {**base, **changed}


def parse_experiment(config: Mapping[str, Any]) -> Experiment:
    """The experiment of a config, every value and name checked.

    Raises HarnessError: one line with the key, what was found and what was expected.
    """
    experiment = parsed(Experiment, with_numbers(whole(config)), "config")
    for model in experiment.models:
        for name in experiment.variants:
            _require_same_training(experiment, model, experiment.arm(model, name))
            _require_other_seed(experiment, experiment.arm(model, name))
        _require_train_split(experiment, model)
        for name in experiment.sweeps:
            _require_learning("sweeps", experiment.arm(model, name))
            if not experiment.arm(model, name).trained:
                raise HarnessError(f"sweeps: '{name}', expected an arm with a training of its own")
            for number, variant in enumerate(experiment.sweeps[name]):
                parsed(_OfTraining, _of_training(variant), f"sweeps.{name}.{number}")
        for name in experiment.draft_sizes.methods:
            _require_learning("draft_sizes.methods", experiment.arm(model, name))
    return experiment


def _require_train_split(experiment: Experiment, model: str) -> None:
    """Refuse methods that would have nothing to learn from, those of sweeps among them."""
    trained = [name for name, arm in experiment.prepared(model).items() if arm.trained]
    if any(dataset.has_train for dataset in experiment.datasets.values()):
        return
    if trained and experiment.parts == "trained":
        raise HarnessError(
            f"datasets: no train split, from which {', '.join(trained)} learn; expected one, or "
            "parts: shipped"
        )
    if experiment.sweeps:
        names = ", ".join(experiment.sweeps)
        raise HarnessError(f"datasets: no train split, from which sweeps of {names} learn")


def _require_learning(where: str, arm: Arm) -> None:
    """Only methods that learn maps or heads have sweeps and curves: refuse arms of all others."""
    if not arm.entry.examined:
        raise HarnessError(f"{where}: '{arm.name}', expected an arm that learns maps or heads")


def _require_other_seed(experiment: Experiment, arm: Arm) -> None:
    """Refuse the seed of a variant that has no training of its own, or a seed that changes none."""
    if arm.seed is not None and not arm.trained:
        raise HarnessError(
            f"variants.{arm.name}.seed: {arm.seed}, expected none: it has no training of its own"
        )
    if arm.seed == experiment.seed:
        raise HarnessError(
            f"variants.{arm.name}.seed: {arm.seed}, expected another one than the experiment's"
        )


def _require_same_training(experiment: Experiment, model: str, arm: Arm) -> None:
    """Refuse a variant that uses a training of another method or with other settings."""
    if not arm.uses:
        return
    where, used = f"variants.{arm.name}", experiment.arm(model, arm.uses)
    base = arm.entry.uses or arm.entry.parts_of or arm.of
    if used.of != base or not used.trained:
        raise HarnessError(
            f"{where}.uses: '{arm.uses}', expected an arm of '{base}' with a training of its own"
        )
    if arm.shares and not arm.entry.parts_of:
        own, other = (each.training_settings(each.settings) for each in (arm, used))
        for key in sorted(own.keys() | other.keys()):
            if own.get(key) != other.get(key):
                raise HarnessError(
                    f"{where}.{key}: {own.get(key)!r}, but '{arm.uses}', whose training it uses, "
                    f"has {other.get(key)!r}; expected the same"
                )
