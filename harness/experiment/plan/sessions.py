"""Timed sessions and the tables made of them: what their jobs are given."""

import shlex
from dataclasses import dataclass
from typing import cast

from harness.experiment.config import Experiment
from harness.experiment.records import Labels
from harness.experiment.steps import Outline, Sampled, SessionStep, as_json

TABLES = (
    *("speedup", "acceptance_length", "draft_size", "rouge2", "summary", "preparation", "pairs"),
    *("categories", "divergences", "question_speedup", "acceptance_by_depth", "acceptance_by_node"),
    *("definitions", "phases", "detectable", "cost", "cost_model", "lossy"),
)
# What tables and reports are told as the config has it.
_AS_GIVEN = set(
    "experiment title stand_in sessions warmup seed threads dtype device draft_sizes".split()
)


@dataclass(frozen=True, slots=True)
class Sessions:
    """The sessions of an experiment, and what its tables and reports know of it."""

    experiment: Experiment

    def json(self, labels: Labels) -> str:
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
        outline = cast(Outline, given.model_dump(include=_AS_GIVEN))
        outline["models"] = list(models)
        outline["datasets"] = {
            name: {"max_new_tokens": spec.max_new_tokens} for name, spec in given.datasets.items()
        }
        outline["methods"] = given.arm_names
        if given.shards > 1:
            outline["shards"] = given.shards
        if self._uncut:
            outline["uncut"] = self._uncut
        if packed:
            outline["weights"] = packed
        if self._sampled:
            outline["sampling"] = self._sampled
        variants = {name: item for name, item in given.variants.items() if name in given.arm_names}
        if variants:
            outline["variants"] = variants
        return outline

    @property
    def _uncut(self) -> list[str]:
        return [name for name, spec in self.experiment.datasets.items() if spec.uncut]

    @property
    def tables(self) -> list[str]:
        """The names of the tables; some only where the experiment asks for them."""
        by_size: tuple[str, ...] = ("draft_size_curve", "draft_size_reach", "best_draft_size")
        by_size = by_size if self.experiment.draft_sizes.methods else ()
        return [*TABLES, *by_size, *(["uncut"] if self._uncut else [])]
