"""Facts for page 1 of a report, and checks that tie its tables to rows, prompts and provenance."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, cast

import pandas as pd

from harness.analysis.quality import LOOP_LIMIT
from harness.errors import HarnessError
from harness.experiment.facts import PageOne
from harness.experiment.folder import Cell, Folder, provenance_of
from harness.experiment.records import BASELINE, Provenance
from harness.experiment.steps import Outline

_SAME = ("sources", "dtype", "machine", "packages", "lossless", "reference", "uses")
_SAME_IN_MODEL = ("model", "weights", "quantised_by", "model_config", "stops", "methods", "machine")
# Facts of the machine that follow from the target: how it is multiplied, on how many devices it is.
_OF_TARGET = ("products", "device", "gpu")
_SAME_IN_SET = ("prompts",)
Prompts: TypeAlias = dict[tuple[str, str], dict[str, Any]]  # by (model, prompt id), as frozen


@dataclass(frozen=True, slots=True)
class Provenances:
    """The provenance of every row file, by model and data set; all agree in what must be equal.

    Code, machine and dtype must be the same in all sessions, the weights and what methods learnt in
    all sessions of a model, the prompts in all sessions of a model and data set. Raises
    HarnessError, naming the key, where they are not.
    """

    by_cell: dict[Cell, list[Provenance]]

    def __post_init__(self) -> None:
        self._require_one(dict.fromkeys(self.by_cell, ""), _SAME)
        self._require_one({(model, name): model for model, name in self.by_cell}, _SAME_IN_MODEL)
        self._require_one({cell: "/".join(cell) for cell in self.by_cell}, _SAME_IN_SET)

    @property
    def all(self) -> list[Provenance]:
        """All provenances, in the order of the row files."""
        return [record for records in self.by_cell.values() for record in records]

    @property
    def commit(self) -> str:
        """The commits that sessions ran at, without repetitions."""
        return ", ".join(dict.fromkeys(record["commit"] for record in self.all))

    @property
    def parameters(self) -> dict[str, int]:
        """Number of parameters of each model's target."""
        return {model: records[-1]["parameters"] for (model, _), records in self.by_cell.items()}

    def held(self, cell: Cell, arm: str) -> int:
        """The most bytes that an arm held beside the target's weights in any session."""
        return max(record["extra_bytes"][arm] for record in self.by_cell[cell])

    def _require_one(self, groups: Mapping[Cell, str], keys: tuple[str, ...]) -> None:
        """Refuse sessions of one group that differ in any of ``keys``."""
        for key in keys:
            seen: dict[str, set[str]] = {}
            for cell, group in groups.items():
                for record in self.by_cell[cell]:
                    value = json.dumps(_shown(record, key, whole=bool(group)), sort_keys=True)
                    seen.setdefault(group, set()).add(value)
            for group, values in seen.items():
                if len(values) > 1:
                    of = group and f" of {group}"
                    raise HarnessError(
                        f"sessions{of} differ in {key}: {sorted(values)}; expected one value "
                        "(snakemake's --forcerun session measures all of them again)"
                    )


def _shown(record: Provenance, key: str, *, whole: bool) -> object:
    """The value of ``key`` that sessions must agree in; of the machine, unless ``whole``, without
    the facts ``_OF_TARGET``, which differ by target, but with the kinds of GPU.
    """
    value = cast(Mapping[str, Any], record).get(key)
    if key != "machine" or whole or not isinstance(value, Mapping):
        return value
    own = {name: fact for name, fact in value.items() if name not in _OF_TARGET}
    return {**own, "gpus": sorted(set(str(value.get("gpu", "")).split(", ")))}


def read_provenances(folder: Folder, cells: Mapping[Cell, list[Path]]) -> Provenances:
    """The provenance beside every row file, by model and data set."""
    return Provenances(
        {
            cell: [folder.read_json(provenance_of(file)) for file in files]
            for cell, files in cells.items()
        }
    )


def page_one(outline: Outline, folder: Folder, summary: pd.DataFrame) -> PageOne:
    """The facts that page 1 of a report shows."""
    baseline = summary[summary["method"] == BASELINE]
    cells = folder.cells(outline)
    return {
        "experiment": outline,
        "row_files": {
            str(file.relative_to(folder.root)): folder.sha256(file)
            for file in folder.row_files(outline)
        },
        "questions": {cell: int(group["questions"].max()) for cell, group in _by_cell(summary)},
        "dropped_questions": {
            "/".join(cell): folder.read_json(folder.dropped(*cell))["dropped_questions"]
            for cell in cells
        },
        "looping": {
            cell: bool(group["loop_rate"].gt(LOOP_LIMIT).any())
            for cell, group in _by_cell(baseline)
        },
    }


def _by_cell(summary: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    for (model, dataset), group in summary.groupby(["model", "dataset"]):
        yield f"{model}/{dataset}", group


def frozen_prompts(folder: Folder, rows: pd.DataFrame) -> Prompts:
    """Frozen prompts by (model, prompt id); refuses rows whose hash is not their prompt's."""
    keys = ["model", "prompt_id", "ids_sha256"]
    frozen: Prompts = {}
    for (model, dataset), cell in rows.groupby(["model", "dataset"], sort=False):
        prompts = folder.read_jsonl(folder.prompts(model, dataset))
        frozen |= {(model, prompt["prompt_id"]): prompt for prompt in prompts}
        _check_all_asked([prompt["prompt_id"] for prompt in prompts], cell)
    for model, prompt_id, digest in rows[keys].itertuples(index=False):
        prompt = frozen.get((model, prompt_id))
        if prompt is None or prompt["sha256"] != digest:
            raise HarnessError(f"prompt {prompt_id}: rows and frozen prompts hold different ids")
    return frozen


def _check_all_asked(prompts: list[str], cell: pd.DataFrame) -> None:
    """Refuse a session without rows of every frozen prompt: its row file may have lost its end."""
    for (model, dataset, session), session_rows in cell.groupby(["model", "dataset", "session"]):
        asked = set(session_rows["prompt_id"])
        missing = [prompt for prompt in prompts if prompt not in asked]
        if missing:
            raise HarnessError(
                f"{model}/{dataset}, session {session}: no rows of {len(missing)} frozen prompts, "
                f"the first is {missing[0]}"
            )
