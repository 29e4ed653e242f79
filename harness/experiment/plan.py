"""What the rules of the workflow ask of an experiment: files to wait for, and what jobs are given.

Only what a step depends on is in what it is given, so that changing one setting re-runs only what
it can change.
"""

import json
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from pydantic import TypeAdapter

from harness.datasets import find_dataset
from harness.experiment.arms import Arm, Settings
from harness.experiment.config import SPLITS, Experiment, SplitName
from harness.experiment.folder import CONFIG, COSINE, LEARNT, SETTING, SPENT, Folder
from harness.experiment.records import Labels
from harness.experiment.steps import (
    Freeze,
    GgufSource,
    Outline,
    Sampled,
    SessionStep,
    Source,
    Split,
)
from harness.files import sha256_json

SHIPPED = "workflows/resources/mini-target"
REBUILT = "results/rebuilt-mini-target"
TARGETS = Path("results/targets")
# Of a model's description, what loads it.
_LOADED = (
    *("path", "hub", "revision", "chat", "attention", "execution", "layers", "weights"),
    "device_map",
)
TABLES = (
    *("speedup", "acceptance_length", "draft_size", "rouge2", "summary", "preparation", "pairs"),
    *("categories", "divergences", "question_speedup", "acceptance_by_depth", "acceptance_by_node"),
    *("definitions", "phases", "detectable", "cost", "cost_model"),
)
# What a sweep's variant may say beside settings: of its training, and which studies it belongs to.
_OF_SWEEPS = ("seed", "seconds", "studies")
_FILES = ("*.json", "*.jinja", "*.txt", "*.model", "*.safetensors", "*.bin")


def as_json(value: object) -> str:
    """JSON for a command line: equal values give equal texts."""
    return json.dumps(value, sort_keys=True)


def gguf_folder(source: GgufSource) -> Path:
    """Where a GGUF file's weights are kept for all experiments, in full."""
    return TARGETS / sha256_json(source.given)[:12]


@dataclass(frozen=True, slots=True)
class Plan:
    """An experiment and its folder; methods named ``..._json`` give arguments of a job.

    Raises HarnessError where a file of questions is not in the folder that ``data`` names.
    """

    experiment: Experiment
    folder: Folder

    def __post_init__(self) -> None:
        for split in SPLITS:
            self.having(split)

    # Targets.
    def model_folder(self, model: str) -> str | None:
        """The folder of a local target: as configured, or what the rule that trains it writes."""
        spec = self.experiment.models[model]
        if spec.pretrain is not None:
            return str(self.folder.target(model))
        if spec.gguf is not None:
            return str(gguf_folder(spec.gguf))
        if self.experiment.target == "rebuild" and spec.path == SHIPPED:
            return REBUILT
        return spec.path

    def model_json(self, model: str) -> str:
        """Where a target is and how it is loaded."""
        given = self.experiment.models[model].model_dump(exclude_none=True)
        spec = {key: given[key] for key in _LOADED if key in given}
        spec |= {"dtype": self.experiment.dtype, "device": self.experiment.device}
        folder = self.model_folder(model)
        return as_json(spec | ({"path": folder} if folder else {}))

    def model_files(self, model: str) -> list[str]:
        """What a job waits for before it loads a local target; nothing for one on the hub."""
        folder = self.model_folder(model)
        if not folder:
            return []
        if folder.startswith("results/"):
            return [f"{folder}/record.json"]
        files = sorted(str(file) for kind in _FILES for file in Path(folder).glob(kind))
        # a missing folder is named by the job that needs its config
        return files or [f"{folder}/config.json"]

    def gguf(self, folder: str) -> GgufSource:
        """The GGUF file that a folder under results/targets is made of, by the folder's name."""
        sources = [spec.gguf for spec in self.experiment.models.values() if spec.gguf]
        return next(source for source in sources if gguf_folder(source).name == folder)

    def pretrain_sources(self, model: str) -> list[str]:
        """Local files that a target is trained on."""
        recipe = self.experiment.models[model].pretrain or {}
        return [source["path"] for source in recipe["sources"].values() if "path" in source]

    # Question sets.
    def source(self, dataset: str, split: SplitName) -> Source | None:
        """Where a split's records are; None for a data set without the split."""
        spec = self.experiment.datasets[dataset]
        if split == "uncut":
            test = self.source(dataset, "test")
            return replace(test, first=spec.uncut.first, every=1) if test and spec.uncut else None
        if spec.splits is not None:
            return self._in_folder(getattr(spec.splits, split))
        count = getattr(spec.stand_in, split)
        return None if count is None else Source(str(self.folder.stand_in(dataset, split)))

    def few_shot(self, dataset: str) -> Source | None:
        """Where a data set's examples are; None without."""
        return self._in_folder(self.experiment.datasets[dataset].few_shot)

    def _in_folder(self, source: Source | None) -> Source | None:
        """A source's file in the folder that ``data`` names, in place of the hub."""
        folder = self.experiment.data
        return source if source is None or folder is None else source.within(Path(folder))

    def records(self, dataset: str, split: SplitName) -> int:
        """How many records of a split are generated."""
        return int(getattr(self.experiment.datasets[dataset].stand_in, split))

    def having(self, split: SplitName) -> list[str]:
        """The data sets that have a split."""
        return [name for name in self.experiment.datasets if self.source(name, split)]

    @property
    def several_turns(self) -> list[str]:
        """The data sets whose questions have a second turn."""
        return [name for name in self.experiment.datasets if find_dataset(name).has_second_turns]

    def frozen_from(self, split: SplitName) -> list[str]:
        """Local files of a split's questions and few-shot examples, of all data sets."""
        sources = [
            source
            for name in self.having(split)
            for source in (self.source(name, split), self.few_shot(name))
        ]
        return [source.path for source in sources if source and source.path]

    def prompts(self, model: str, split: SplitName) -> list[Path]:
        """Frozen prompts of every data set that has the split."""
        return [self.folder.prompts(model, name, split) for name in self.having(split)]

    def first_turns(self, model: str, split: SplitName) -> list[Path]:
        """Frozen answers to the first turns of a split."""
        names = [name for name in self.having(split) if name in self.several_turns]
        return [self.folder.first_turns(model, name, split) for name in names]

    def frozen(self, model: str, split: SplitName) -> list[Path]:
        """What freezing a split writes."""
        dropped = [self.folder.dropped(model, name, split) for name in self.having(split)]
        return [*self.prompts(model, split), *dropped, *self.first_turns(model, split)]

    def freeze_json(self, model: str, split: SplitName) -> str:
        """What freezing a split is given."""
        steps = [self._freeze(model, name, split) for name in self.having(split)]
        return as_json(TypeAdapter(list[Freeze]).dump_python(steps, exclude_defaults=True))

    def _freeze(self, model: str, dataset: str, split: SplitName) -> Freeze:
        spec, source = self.experiment.datasets[dataset], self.source(dataset, split)
        assert source is not None
        what = Split(dataset, source, spec.longest_prompt, self.few_shot(dataset))
        out = str(self.folder.prompts(model, dataset, split))
        if dataset not in self.several_turns:
            return Freeze(what, out)
        turns = str(self.folder.first_turns(model, dataset, split))
        return Freeze(what, out, turns, self._caps(split)[dataset])

    def _caps(self, split: SplitName) -> dict[str, int]:
        named = self.experiment.datasets.items()
        if split == "uncut":
            return {name: spec.uncut.max_new_tokens for name, spec in named if spec.uncut}
        return {name: spec.max_new_tokens for name, spec in named}

    @property
    def caps_json(self) -> str:
        """New tokens at most, by data set."""
        return as_json(self._caps("test"))

    @property
    def uncut_caps_json(self) -> str:
        """The same for answers that are not timed."""
        return as_json(self._caps("uncut"))

    # Methods.
    @property
    def trained(self) -> list[str]:
        """Arms with a training of their own, those that only others use among them."""
        return self._prepared("trained")

    @property
    def sharing(self) -> list[str]:
        """Arms that take the trained parts of another one."""
        return self._prepared("shares")

    @property
    def tuned(self) -> list[str]:
        """Arms with a tuning of their own."""
        return self._prepared("tuned")

    @property
    def examined(self) -> list[str]:
        """Arms of whose own training there are tables."""
        return [name for name in self._prepared("trained") if self._arm(name).entry.examined]

    def _prepared(self, kind: str) -> list[str]:
        arms = self.experiment.prepared(next(iter(self.experiment.models)))
        return [name for name, arm in arms.items() if getattr(arm, kind)]

    def _arm(self, name: str) -> Arm:
        """An arm: of which method, and whose training it takes, is the same for all models."""
        return self.experiment.arm(next(iter(self.experiment.models)), name)

    def used_by(self, arm: str) -> str:
        """The arm whose trained parts another one takes."""
        return self._arm(arm).shares

    def settings(self, model: str, arm: str, variant: object = None) -> Settings:
        """An arm's settings; in a sweep, with the variant's in place of the configured ones."""
        given = self.experiment.arm(model, arm).given()
        if variant is None:
            return given
        swept = self._swept(arm, variant)
        return given | {key: swept[key] for key in swept if key not in _OF_SWEEPS}

    def _swept(self, arm: str, variant: object) -> Settings:
        return self.experiment.sweeps[arm][int(str(variant))]

    def sweep_seed(self, arm: str, variant: object) -> int:
        """Of a variant's training and tuning: its own, or the experiment's."""
        return int(self._swept(arm, variant).get("seed", self.experiment.seed))

    def sweep_seconds(self, arm: str, variant: object) -> str:
        """The option that says how long a variant trains; empty where its steps say so."""
        seconds = self._swept(arm, variant).get("seconds")
        return "" if seconds is None else f"--seconds {seconds:g}"

    def training_json(self, model: str, arm: str, variant: object = None) -> str:
        """The settings of a training, without what only the tuning reads."""
        unread = self.experiment.arm(model, arm).entry.tuning
        settings = self.settings(model, arm, variant)
        return as_json({key: settings[key] for key in settings if key not in unread})

    def tuning_json(self, model: str, arm: str, variant: object = None) -> str:
        """The settings of a tuning."""
        return as_json(self.settings(model, arm, variant))

    def arms_json(self, model: str, names: Iterable[str] | None = None) -> str:
        """Arms with their settings for a model: all of a session, or those named."""
        names = self.experiment.arm_names if names is None else names
        return as_json({name: self.settings(model, name) for name in names})

    def prepared_files(self, model: str) -> list[Path]:
        """What training and tuning of every arm writes for a model."""
        configs = [(name, CONFIG) for name in (*self.trained, *self.sharing)]
        settings = [(name, file) for name in self.tuned for file in (SETTING, SPENT)]
        return [self.folder.method(model, *place) for place in (*configs, *settings)]

    def told_files(self, model: str) -> list[Path]:
        """What reports tell of trainings and of tree attention, for a model."""
        tables = [(name, file) for name in self.examined for file in (LEARNT, COSINE)]
        return [self.folder.trees(model), *(self.folder.method(model, *one) for one in tables)]

    # Sessions and tables.
    def session_json(self, labels: Labels) -> str:
        """What a session is given; each shard draws its own orders of the arms."""
        seed = self.experiment.seed * 1000 + labels["session"]
        if "shard" in labels:
            seed = seed * 1000 + labels["shard"]
        step: SessionStep = {
            "labels": labels,
            "seed": seed,
            "max_new_tokens": self.experiment.datasets[labels["dataset"]].max_new_tokens,
            "warmup": self.experiment.warmup,
        }
        if self._sampled:
            step["sampling"] = self._sampled
        return as_json(step)

    @property
    def _sampled(self) -> Sampled | None:
        given = self.experiment.sampling
        return cast(Sampled, given.model_dump(exclude_none=True)) if given else None

    @property
    def sampling_option(self) -> str:
        """The option of a tuning or a profile that says how tokens are drawn; empty for greedy."""
        return f"--sampling {shlex.quote(as_json(self._sampled))}" if self._sampled else ""

    def labels(self, model: str, dataset: str, session: str, shard: str | None = None) -> Labels:
        """Where a session, or a shard of one, stands."""
        labels = Labels(
            experiment=self.experiment.experiment,
            model=model,
            dataset=dataset,
            session=int(session),
        )
        if shard is not None:
            labels |= {"shard": int(shard), "shards": self.experiment.shards}
        return labels

    @property
    def outline(self) -> Outline:
        """What tables and reports know of the experiment."""
        given, models = self.experiment, self.experiment.models
        packed = {name: spec.weights for name, spec in models.items() if spec.weights}
        outline: Outline = {
            "experiment": given.experiment,
            "title": given.title,
            "stand_in": given.stand_in,
            "sessions": given.sessions,
            "warmup": given.warmup,
            "seed": given.seed,
            "threads": given.threads,
            "dtype": given.dtype,
            "device": given.device,
            "models": list(models),
            "datasets": {
                name: {"max_new_tokens": spec.max_new_tokens}
                for name, spec in given.datasets.items()
            },
            "methods": given.arm_names,
            "draft_sizes": {
                "methods": given.draft_sizes.methods,
                "sizes": given.draft_sizes.sizes,
                "timed": given.draft_sizes.timed,
            },
        }
        if given.shards > 1:
            outline["shards"] = given.shards
        if packed:
            outline["weights"] = packed
        if self._sampled:
            outline["sampling"] = self._sampled
        if given.variants:
            outline["variants"] = given.variants
        return outline

    @property
    def tables(self) -> list[str]:
        """The names of the tables; some only where the experiment asks for them."""
        by_size: tuple[str, ...] = ("draft_size_curve", "draft_size_reach", "best_draft_size")
        by_size = by_size if self.experiment.draft_sizes.methods else ()
        return [*TABLES, *by_size, *(["uncut"] if self.having("uncut") else [])]

    # The engine benchmark.
    def bench_subject(self, bench: str) -> list[str]:
        """--shape or --model of an engine benchmark; a name that is both is the shape's."""
        if bench in self.experiment.engine.shapes:
            return ["--shape", bench]
        spec = self.experiment.models[bench].model_dump(exclude_none=True)
        options = {"attention": "--attention", "weights": "--weights", "device_map": "--device-map"}
        given = [word for key, name in options.items() if key in spec for word in (name, spec[key])]
        return ["--model", str(self.model_folder(bench)), *given]

    def bench_files(self, bench: str) -> list[str]:
        """What an engine benchmark of a model waits for."""
        return [] if bench in self.experiment.engine.shapes else self.model_files(bench)

    @property
    def bench_grid(self) -> list[str]:
        """What an engine benchmark times, as options of the command line."""
        engine = self.experiment.engine
        lists = {"rows": engine.rows, "contexts": engine.contexts}
        counts = {"repeats": engine.repeats, "rounds": engine.rounds, "tokens": engine.tokens}
        return [
            *(f"--{key}={','.join(map(str, numbers))}" for key, numbers in lists.items()),
            *(f"--{key}={count}" for key, count in counts.items()),
            *([] if engine.compile else ["--no-compile"]),
        ]
