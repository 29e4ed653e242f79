"""Targets: where their files are, how a job loads them, and how the engine benchmark times them."""

import json
import shlex
from dataclasses import dataclass
from pathlib import Path

from harness.experiment.config import Experiment
from harness.experiment.folder import Folder
from harness.experiment.steps import GgufSource, as_json
from harness.files import sha256_json

SHIPPED = "workflows/resources/mini-target"
REBUILT = "results/rebuilt-mini-target"
DEQUANTISED = Path("results/targets")  # weights out of GGUF files, for all experiments
# Of a model's description, what loads it.
_LOADED = (
    *("path", "hub", "revision", "chat", "attention", "execution", "layers", "weights"),
    "device_map",
)
_FILES = ("*.json", "*.jinja", "*.txt", "*.model", "*.safetensors", "*.bin")


def gguf_folder(source: GgufSource) -> Path:
    """The folder of the weights that are taken out of a GGUF file."""
    return DEQUANTISED / sha256_json(source.given)[:12]


@dataclass(frozen=True, slots=True)
class Targets:
    """The targets of an experiment, by their names in ``models``."""

    experiment: Experiment
    folder: Folder

    def folder_of(self, model: str) -> str | None:
        """The folder of a local target: as configured, or what the rule that trains it writes."""
        spec = self.experiment.models[model]
        if spec.pretrain is not None:
            return str(self.folder.target(model))
        if spec.gguf is not None:
            return str(gguf_folder(spec.gguf))
        if self.experiment.target == "rebuild" and spec.path == SHIPPED:
            return REBUILT
        return spec.path

    def load_json(self, model: str) -> str:
        """Where a target is and how it is loaded."""
        given = self.experiment.models[model].model_dump(exclude_none=True)
        spec = {key: given[key] for key in _LOADED if key in given}
        spec |= {"dtype": self.experiment.dtype, "device": self.experiment.device}
        folder = self.folder_of(model)
        return as_json(spec | ({"path": folder} if folder else {}))

    def answers_json(self, model: str) -> str:
        """As :meth:`load_json` without ``execution``: how the engine runs its steps changes no
        prompt, no answer of the target, and no training but one that decodes.
        """
        spec = json.loads(self.load_json(model))
        return as_json({key: spec[key] for key in spec if key != "execution"})

    def training_json(self, model: str, searches: bool) -> str:
        """The same for a training; whole where it ``searches``, since it then decodes."""
        return self.load_json(model) if searches else self.answers_json(model)

    def files(self, model: str) -> list[str]:
        """What a job waits for before it loads a local target; nothing for one on the hub."""
        folder = self.folder_of(model)
        if not folder:
            return []
        if folder.startswith("results/"):
            return [f"{folder}/record.json"]
        files = sorted(str(file) for kind in _FILES for file in Path(folder).glob(kind))
        # a missing folder is named by the job that needs its config
        return files or [f"{folder}/config.json"]

    def known(self, model: str) -> bool:
        """Whether a target is there before it is trained, for settings to be checked against."""
        return self.experiment.models[model].pretrain is None and self.folder_of(model) != REBUILT

    def checked_option(self, model: str) -> str:
        """The option that names the model of a check of settings; empty where it is not there."""
        if not self.known(model):
            return ""
        return f"--model {shlex.quote(self.load_json(model))}"

    def gguf(self, folder: str) -> GgufSource:
        """The GGUF file that a folder under results/targets is made of, by the folder's name."""
        sources = [spec.gguf for spec in self.experiment.models.values() if spec.gguf]
        return next(source for source in sources if gguf_folder(source).name == folder)

    def pretrain_sources(self, model: str) -> list[str]:
        """Local files that a target is trained on."""
        recipe = self.experiment.models[model].pretrain or {}
        sources = recipe.get("sources")
        named = sources.values() if isinstance(sources, dict) else ()  # the training refuses others
        return [str(s["path"]) for s in named if isinstance(s, dict) and "path" in s]

    def benched_as(self, bench: str) -> list[str]:
        """--shape or --model of an engine benchmark; a name that is both is the shape's."""
        if bench in self.experiment.engine.shapes:
            return ["--shape", bench]
        spec = self.experiment.models[bench].model_dump(exclude_none=True)
        options = {"attention": "--attention", "weights": "--weights", "device_map": "--device-map"}
        given = [word for key, name in options.items() if key in spec for word in (name, spec[key])]
        return ["--model", str(self.folder_of(bench)), *given]

    def benched_files(self, bench: str) -> list[str]:
        """What an engine benchmark of a model waits for."""
        return [] if bench in self.experiment.engine.shapes else self.files(bench)

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
