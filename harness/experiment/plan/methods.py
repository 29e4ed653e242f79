"""Arms: whose parts are trained, tuned or shared, and the settings that their jobs are given."""

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
        """Of an arm's training; all are tuned with the experiment's."""
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

    def checked_json(self) -> list[str]:
        """The settings of all arms of sessions, curves, and what they take parts from."""
        listed = self.experiment.arm_names
        return list(
            dict.fromkeys(
                self.json(model, dict.fromkeys([*listed, *self.experiment.prepared(model)]))
                for model in self.experiment.models
            )
        )

    def prepared_files(self, model: str) -> list[Path]:
        """What training and tuning of every arm writes for a model."""
        configs = [(name, CONFIG) for name in (*self.trained, *self.sharing)]
        settings = [(name, file) for name in self.tuned for file in (SETTING, SPENT)]
        return [self.folder.method(model, *place) for place in (*configs, *settings)]

    def examined_files(self, model: str) -> list[Path]:
        """What reports tell of trainings and of tree attention, for a model."""
        learnt = [self.folder.method(model, name, LEARNT) for name in self.examined]
        cosines = [self.folder.method(model, name, COSINE) for name in self.with_pseudo_states]
        return [self.folder.trees(model), *learnt, *cosines]
