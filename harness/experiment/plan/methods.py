"""Arms: whose parts are trained, tuned or shared, and the settings that their jobs are given."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from harness.experiment.arms import Arm, Settings
from harness.experiment.config import Experiment
from harness.experiment.folder import CONFIG, COSINE, LEARNT, SETTING, SPENT, Folder
from harness.experiment.steps import as_json

# What a sweep's variant may say beside settings: of its training, and which studies it belongs to.
_OF_SWEEPS = ("seed", "seconds", "studies")


@dataclass(frozen=True, slots=True)
class Arms:
    """The arms of an experiment, by their names in ``methods`` and ``variants``."""

    experiment: Experiment
    folder: Folder

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
        """Arms of which learnt.csv says what their own training gave."""
        return [name for name in self.trained if self._arm(name).entry.examined]

    @property
    def with_pseudo_states(self) -> list[str]:
        """Those of them whose pseudo states cosine.csv compares with real ones."""
        return [name for name in self.examined if self._arm(name).entry.pseudo_states]

    def _prepared(self, kind: str) -> list[str]:
        arms = self.experiment.prepared(next(iter(self.experiment.models)))
        return [name for name, arm in arms.items() if getattr(arm, kind)]

    def _arm(self, name: str) -> Arm:
        """An arm: of which method, and whose training it takes, is the same for all models."""
        return self.experiment.arm(next(iter(self.experiment.models)), name)

    def searches(self, arm: str) -> bool:
        """Whether an arm's training decodes."""
        return self._arm(arm).entry.searches

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

    def seed(self, arm: str) -> int:
        """Seed of an arm's training, its own or the experiment's; tuning always uses the latter."""
        own = self._arm(arm).seed
        return self.experiment.seed if own is None else own

    def sweep_seed(self, arm: str, variant: object) -> int:
        """Of the training of a sweep's variant."""
        return int(self._swept(arm, variant).get("seed", self.seed(arm)))

    def sweep_seconds(self, arm: str, variant: object) -> str:
        """The option that says how long a variant trains; empty where its number of steps does."""
        seconds = self._swept(arm, variant).get("seconds")
        return "" if seconds is None else f"--seconds {seconds:g}"

    def training_json(self, model: str, arm: str, variant: object = None) -> str:
        """The settings of a training, without what only the tuning reads."""
        settings = self.settings(model, arm, variant)
        return as_json(self.experiment.arm(model, arm).training_settings(settings))

    def tuning_json(self, model: str, arm: str, variant: object = None) -> str:
        """The settings of a tuning."""
        return as_json(self.settings(model, arm, variant))

    def json(self, model: str, names: Iterable[str] | None = None) -> str:
        """Arms with their settings for a model: all of a session, or those named."""
        names = self.experiment.arm_names if names is None else names
        return as_json({name: self.settings(model, name) for name in names})

    def training_of(self, model: str, names: Iterable[str]) -> str:
        """The named arms with the settings that their trainings read."""
        return as_json({name: json.loads(self.training_json(model, name)) for name in names})

    def checked_json(self, model: str) -> str:
        """All arms of a model's sessions, and what they take parts from."""
        arms = self.experiment.arm_names
        return self.json(model, dict.fromkeys([*arms, *self.experiment.prepared(model, arms)]))

    def swept_json(self, model: str) -> str:
        """All variants of all sweeps, as arms under names of their own."""
        return as_json(
            {
                f"{arm}_{number}": {"of": self._arm(arm).of, **self.settings(model, arm, number)}
                for arm, variants in self.experiment.sweeps.items()
                for number in range(len(variants))
            }
        )

    def prepared_files(self, model: str) -> list[Path]:
        """What training and tuning of the arms of sessions writes for a model."""
        arms = self.experiment.prepared(model, self.experiment.arm_names)
        places = [(name, CONFIG) for name, arm in arms.items() if arm.trained or arm.shares]
        for name, arm in arms.items():
            places += [(name, SETTING), (name, SPENT)] if arm.tuned else []
        return [self.folder.method(model, *place) for place in places]

    def examined_files(self, model: str) -> list[Path]:
        """What reports tell of trainings and of tree attention, for a model."""
        learnt = [self.folder.method(model, name, LEARNT) for name in self.examined]
        cosines = [self.folder.method(model, name, COSINE) for name in self.with_pseudo_states]
        return [self.folder.trees(model), *learnt, *cosines]
