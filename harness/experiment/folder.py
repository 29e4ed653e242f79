"""Every path under ``results/<experiment>``, in one place.

Paths are made of names, or of Snakemake's wildcards in braces. A file that is read through a folder
is parsed and hashed once, however many tables it goes into.
"""

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from harness.experiment.steps import Outline
from harness.files import read_json, read_jsonl, replacing, sha256_file

if TYPE_CHECKING:
    import pandas as pd

# What is kept of a run: everything small. Weights, generated data and logs can be made again.
KEPT = (
    "tables/*",
    "runs/*/*/*.provenance.json",
    "runs/*/*/*/*.provenance.json",
    "methods/*/*/*.csv",
    "methods/*/*/*.json",
    "targets/*/record.json",
    "sweep/*.csv",
    "curve/*.csv",
    "profile/*.csv",
    "cost/*.csv",
    "trees/*.csv",
    "figures/speedup.svg",
    "prompts/*/*.dropped.json",
)
ROWS = ("runs/*/*/session-*.jsonl", "runs/*/*/session-*/shard-*.jsonl")
PROMPTS = ("prompts/*/*.jsonl", "uncut/*.jsonl")

T = TypeVar("T")
Cell: TypeAlias = tuple[str, str]  # model, data set
# What training, tuning and examining write into an arm's folder.
CONFIG, SETTING, SPENT, TRIALS = "config.json", "setting.json", "spent.json", "trials.csv"
LEARNT, COSINE = "learnt.csv", "cosine.csv"


@dataclass(frozen=True, slots=True)
class Folder:
    """The folder of an experiment. It caches what it reads: make a new one where files change."""

    root: Path
    _held: dict[tuple[str, Path], Any] = field(default_factory=dict, repr=False, compare=False)

    # Questions, prompts and the target's answers.
    def target(self, model: str) -> Path:
        """The folder of a target that the experiment trains itself."""
        return self.root / "targets" / model

    def stand_in(self, dataset: str, split: str) -> Path:
        """Generated records of a split."""
        return self.root / "stand_ins" / dataset / f"{split}.jsonl"

    def prompts(self, model: str, dataset: str, split: str = "test") -> Path:
        """Frozen prompts; those of the test split, which sessions measure, lie above the others."""
        folder = self.root / "prompts" / model
        return (folder if split == "test" else folder / split) / f"{dataset}.jsonl"

    def dropped(self, model: str, dataset: str, split: str = "test") -> Path:
        """The number of questions that were dropped as too long, beside the prompts."""
        return self.prompts(model, dataset, split).with_suffix(".dropped.json")

    def first_turns(self, model: str, dataset: str, split: str) -> Path:
        """The target's own answers to first turns."""
        return self.root / "prompts" / model / "first_turns" / f"{dataset}-{split}.json"

    def answers(self, model: str, split: str) -> Path:
        """The target's own answers to all prompts of a split."""
        return self.root / "answers" / model / f"{split}.jsonl"

    def uncut(self, model: str) -> Path:
        """The target's answers to test questions under a cap of their own, for their quality."""
        return self.root / "uncut" / f"{model}.jsonl"

    # What methods learn, and what is timed on the tune split.
    def checked(self, model: str) -> Path:
        """Every method's settings, resolved."""
        return self.root / "checked" / f"{model}.json"

    def methods(self, model: str) -> Path:
        """The folders of a model's arms."""
        return self.root / "methods" / model

    def method(self, model: str, arm: str, file: str) -> Path:
        """A file that training or tuning of an arm writes."""
        return self.methods(model) / arm / file

    def sweep(self, model: str, method: str, variant: object, file: str) -> Path:
        """A file that training or tuning of a sweep's variant writes."""
        return self.root / "sweep" / model / method / str(variant) / file

    def sweep_table(self, model: str, method: str) -> Path:
        """The table of what the variants of a sweep reached."""
        return self.root / "sweep" / f"{model}-{method}.csv"

    def parts(self, model: str) -> Path:
        """The record of collected parts, in their folder."""
        return self.root / "parts" / model / "record.json"

    def curve(self, model: str) -> Path:
        """Draft size against acceptance and speed."""
        return self.root / "curve" / f"{model}.csv"

    def cost(self, model: str) -> Path:
        """Seconds of the target's forwards."""
        return self.root / "cost" / f"{model}.csv"

    def trees(self, model: str) -> Path:
        """How far tree attention is from plain forwards, and how much memory trees take."""
        return self.root / "trees" / f"{model}.csv"

    def profile(self, model: str) -> Path:
        """Seconds of decoding by phase."""
        return self.root / "profile" / f"{model}.csv"

    def engine(self, bench: str, file: str) -> Path:
        """A file of an engine benchmark."""
        return self.root / "engine" / bench / file

    # Sessions, and what is made from their rows.
    def rows(self, model: str, dataset: str, session: object, shard: object = None) -> Path:
        """The rows of a session, or of one of its shards."""
        folder, name = self.root / "runs" / model / dataset, f"session-{session}"
        return folder / f"{name}.jsonl" if shard is None else folder / name / f"shard-{shard}.jsonl"

    def cells(self, outline: Outline) -> dict[Cell, list[Path]]:
        """The row files of every model and data set, sessions in order.

        Files that sessions under older settings left behind are not among them.
        """
        count = outline.get("shards", 1)
        shards = [None] if count == 1 else range(1, count + 1)
        return {
            (model, dataset): [
                self.rows(model, dataset, session, shard)
                for session in range(1, outline["sessions"] + 1)
                for shard in shards
            ]
            for model in outline["models"]
            for dataset in outline["datasets"]
        }

    def row_files(self, outline: Outline) -> list[Path]:
        """The row files of an experiment."""
        return list(itertools.chain.from_iterable(self.cells(outline).values()))

    @property
    def tables(self) -> Path:
        """The folder of all tables."""
        return self.root / "tables"

    def table(self, name: str) -> Path:
        """A table of the experiment."""
        return self.tables / f"{name}.csv"

    @property
    def facts(self) -> Path:
        """What reports say in words."""
        return self.tables / "facts.json"

    def figure(self, name: str) -> Path:
        """A figure as SVG."""
        return self.root / "figures" / f"{name}.svg"

    @property
    def drawn(self) -> Path:
        """The names of the figures that were drawn."""
        return self.root / "figures" / "done.json"

    def report(self, name: str) -> Path:
        """A report as PDF."""
        return self.root / "report" / f"{name}.pdf"

    def log(self, step: str, job: str = "") -> Path:
        """The log of a step's job, or of a step that has one job."""
        return self.root / "logs" / step / f"{job}.log" if job else self.root / f"logs/{step}.log"

    # Reading.
    def found(self, *patterns: str) -> list[Path]:
        """The existing files that match, sorted pattern by pattern."""
        return [file for pattern in patterns for file in sorted(self.root.glob(pattern))]

    def read_json(self, file: Path) -> Any:
        """A JSON file."""
        return self._once("json", file, read_json)

    def read_jsonl(self, file: Path) -> list[dict[str, Any]]:
        """A file of JSON lines."""
        return self._once("jsonl", file, read_jsonl)

    def read_csv(self, file: Path) -> "pd.DataFrame":
        """A CSV file as a copy, which its reader may change."""
        import pandas as pd  # takes half a second, and the workflow needs paths alone

        # a fingerprint that consists of digits stays text
        read = partial(pd.read_csv, dtype={"fingerprint": str})
        return self._once("csv", file, read).copy()

    def read_words(self, file: Path) -> "pd.DataFrame":
        """As :meth:`read_csv`; empty cells are empty text."""
        import pandas as pd

        return self._once("words", file, partial(pd.read_csv, keep_default_na=False)).copy()

    def read_table(self, name: str) -> "pd.DataFrame":
        """A table of the experiment; an empty frame where there is none."""
        import pandas as pd

        file = self.table(name)
        return self.read_csv(file) if file.is_file() else pd.DataFrame()

    def of_models(self, file_of: Callable[[str], Path], models: Iterable[str]) -> "pd.DataFrame":
        """The CSV files of those models that have one, as one frame with a column ``model``."""
        import pandas as pd

        tables = [
            self.read_csv(file).assign(model=model)
            for model in models
            if (file := file_of(model)).is_file()
        ]
        return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=["model"])

    def sha256(self, file: Path) -> str:
        """The hash of a file's content."""
        return self._once("sha256", file, sha256_file)

    def _once(self, kind: str, file: Path, read: Callable[[Path], T]) -> T:
        if (kind, file) not in self._held:
            self._held[kind, file] = read(file)
        return self._held[kind, file]


def provenance_of(rows: Path) -> Path:
    """The provenance of a session's rows, beside them."""
    return rows.with_suffix(".provenance.json")


def write_table(path: Path, table: "pd.DataFrame", digits: int = 6) -> None:
    """Write a CSV file, floats with so many digits, whole or not at all."""
    with replacing(path) as temporary:
        table.to_csv(temporary, index=False, float_format=f"%.{digits}g")
