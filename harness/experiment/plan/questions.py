"""Question sets: which records each split reads, and the prompts that are frozen from them."""

from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter

from harness.datasets import find_dataset
from harness.errors import HarnessError
from harness.experiment.config import SPLITS, Experiment, SplitName
from harness.experiment.folder import Folder
from harness.experiment.steps import Freeze, Source, Split, as_json


@dataclass(frozen=True, slots=True)
class Questions:
    """The data sets of an experiment, by their names in ``datasets``, and their splits.

    Raises HarnessError where a file of questions is not in the folder that ``data`` names, or no
    source names one there.
    """

    experiment: Experiment
    folder: Folder

    def __post_init__(self) -> None:
        for split in SPLITS:
            self.frozen_from(split)
        specs = self.experiment.datasets.values()
        given = [spec.few_shot for spec in specs]
        given += [source for spec in specs for source in dict(spec.splits or ()).values()]
        if self.experiment.data and not any(source and source.file for source in given):
            raise HarnessError(f"data: {self.experiment.data}, but no source names a `file` in it")

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
        several = dataset in self.several_turns
        turns = str(self.folder.first_turns(model, dataset, split)) if several else None
        shards = self.experiment.shards if split == "test" else 1
        return Freeze(what, out, turns, self._caps(split)[dataset], shards)

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
