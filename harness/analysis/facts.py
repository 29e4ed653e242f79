"""What page 1 of a report says of an experiment; what ties its tables to rows and prompts."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from harness.errors import HarnessError
from harness.experiment.records import BASELINE
from harness.files import read_json, read_jsonl, sha256_file

LOOP_LIMIT = 0.10
_SAME = ("sources", "dtype", "machine", "packages", "lossless", "reference")
_SAME_IN_MODEL = ("model", "weights", "quantised_by", "model_config", "stops", "methods")
_SAME_IN_SET = ("prompts",)


def page_one(
    experiment: dict[str, Any],
    root: Path,
    files: list[Path],
    summary: pd.DataFrame,
) -> dict[str, Any]:
    """What page 1 of a report says, and the hashes that tie tables to rows."""
    baseline = summary[summary["method"] == BASELINE]
    return {
        "experiment": experiment,
        "row_files": {str(file.relative_to(root)): sha256_file(file) for file in files},
        "questions": {cell: int(group["questions"].max()) for cell, group in _by_cell(summary)},
        "dropped_questions": {
            f"{model}/{dataset}": read_json(root / "prompts" / model / f"{dataset}.dropped.json")[
                "dropped_questions"
            ]
            for model in experiment["models"]
            for dataset in experiment["datasets"]
        },
        "looping": {
            cell: bool(group["loop_rate"].gt(LOOP_LIMIT).any())
            for cell, group in _by_cell(baseline)
        },
    }


def common_provenance(root: Path, files: list[Path]) -> dict[str, Any]:
    """The sessions' common provenance, ``parameters`` by model.

    Code, machine and dtype must not have changed between them; nor the weights and what methods
    learnt between those of one model, nor the prompts between those of one data set.
    """
    found = {file: read_json(file.with_suffix(".provenance.json")) for file in files}
    models = {file: file.relative_to(root / "runs").parts[0] for file in files}
    sets = {file: "/".join(file.relative_to(root / "runs").parts[:2]) for file in files}
    _require_one(found, dict.fromkeys(files, ""), _SAME)
    _require_one(found, models, _SAME_IN_MODEL)
    _require_one(found, sets, _SAME_IN_SET)
    return found[files[0]] | {
        "commit": ", ".join(dict.fromkeys(one["commit"] for one in found.values())),
        "parameters": {models[file]: found[file]["parameters"] for file in files},
    }


def _require_one(
    found: dict[Path, dict[str, Any]], groups: dict[Path, str], keys: tuple[str, ...]
) -> None:
    """Each of ``keys`` has one value in all files of a group."""
    for key in keys:
        seen: dict[str, set[str]] = {}
        for file, group in groups.items():
            value = json.dumps(found[file].get(key), sort_keys=True)
            seen.setdefault(group, set()).add(value)
        for group, values in seen.items():
            if len(values) > 1:
                of = group and f" of {group}"
                raise HarnessError(
                    f"sessions{of} differ in {key}: {sorted(values)}; expected one value "
                    "(snakemake's --forcerun session measures all of them again)"
                )


def _by_cell(summary: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    for (model, dataset), group in summary.groupby(["model", "dataset"]):
        yield f"{model}/{dataset}", group


def frozen_prompts(root: Path, rows: pd.DataFrame) -> dict[tuple[str, str], dict[str, Any]]:
    """(model, prompt_id) -> frozen prompt; every row's hash must be the prompt's."""
    keys = ["model", "prompt_id", "ids_sha256"]
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for (model, dataset), cell in rows.groupby(["model", "dataset"], sort=False):
        prompts = read_jsonl(root / "prompts" / model / f"{dataset}.jsonl")
        found |= {(model, prompt["prompt_id"]): prompt for prompt in prompts}
        _check_all_asked([prompt["prompt_id"] for prompt in prompts], cell)
    for model, prompt_id, digest in rows[keys].itertuples(index=False):
        known = found.get((model, prompt_id))
        if known is None or known["sha256"] != digest:
            raise HarnessError(f"prompt {prompt_id}: rows and frozen prompts hold different ids")
    return found


def _check_all_asked(prompts: list[str], cell: pd.DataFrame) -> None:
    """Every session holds every frozen prompt: a file of rows may have lost its end."""
    for (model, dataset, session), mine in cell.groupby(["model", "dataset", "session"]):
        missing = [prompt for prompt in prompts if prompt not in set(mine["prompt_id"])]
        if missing:
            raise HarnessError(
                f"{model}/{dataset}, session {session}: no rows of {len(missing)} frozen prompts, "
                f"the first is {missing[0]}"
            )
