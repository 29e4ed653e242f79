"""Load question sets through ``datasets``: local JSON lines, JSON or Parquet files, or the hub."""

import tempfile
from collections import Counter
from pathlib import Path

import datasets

from harness.datasets import find_dataset
from harness.datasets.base import Layout, Question
from harness.errors import HarnessError, first_line
from harness.experiment.steps import Source

# Reading a question file takes a moment; its progress bar would only hide what matters in logs.
datasets.disable_progress_bars()


def load_questions(dataset: str, source: Source) -> list[Question]:
    """Questions of a split, in file order."""
    layouts = find_dataset(dataset).layouts
    records = _load(source)
    where = source.path or source.hub
    layout = _fitting(dataset, layouts, records.column_names, str(where))
    end = len(records) if source.first is None else min(len(records), source.skip + source.first)
    chosen = range(min(source.skip, end), end, source.every)
    if not chosen:
        raise HarnessError(f"{where}: {len(records)} records, expected more than {source.skip}")
    questions = []
    for index in chosen:
        try:
            questions.append(layout.read(records[index], index))
        except (TypeError, AttributeError, KeyError, ValueError) as error:
            line = f"{where}: record {index + 1} does not fit {dataset} ({error})"
            raise HarnessError(line) from None
    (most, times), *_ = Counter(question.question_id for question in questions).most_common(1)
    if times > 1:
        raise HarnessError(f"{where}: {times} questions with id '{most}', expected each id once")
    return questions


def _fitting(dataset: str, layouts: tuple[Layout, ...], present: list[str], where: str) -> Layout:
    """The first layout whose columns are all ``present``; without one, the error names a column
    that the first layout lacks.
    """
    for layout in layouts:
        if set(layout.columns) <= set(present):
            return layout
    columns = layouts[0].columns
    missing = next(column for column in columns if column not in present)
    raise HarnessError(
        f"{where}: no column '{missing}', found {present}; {dataset} needs {', '.join(columns)}"
    )


def _load(source: Source) -> datasets.Dataset:
    if source.path is not None:
        return _load_local(Path(source.path))
    try:
        return datasets.load_dataset(
            source.hub, source.name, revision=source.revision, split=source.split
        )
    except Exception as error:  # the hub fails in many ways, which all mean: not loaded
        raise HarnessError(
            f"hub data set '{source.hub}' (revision {source.revision}, split {source.split}): "
            f"could not be loaded: {_root(error)}{_instead(source)}"
        ) from None


def _instead(source: Source) -> str:
    """A hint on how to go on without the hub."""
    if source.file is None:
        return ""
    return f"; put its records at FOLDER/{source.file} and add `--config data=FOLDER`"


def _load_local(path: Path) -> datasets.Dataset:
    kinds = {".jsonl": "json", ".json": "json", ".parquet": "parquet"}
    if path.suffix not in kinds:
        raise HarnessError(f"{path}: expected a .jsonl, .json or .parquet file")
    if not path.is_file():
        raise HarnessError(f"{path}: no such file")
    # A cache of its own: the shared one would serve the old version of a file that has changed.
    with tempfile.TemporaryDirectory() as cache:
        try:
            return datasets.load_dataset(
                kinds[path.suffix],
                data_files=str(path),
                split="train",
                cache_dir=cache,
                keep_in_memory=True,
            )
        except Exception as error:
            raise HarnessError(
                f"{path}: not readable as {kinds[path.suffix]}: {_root(error)}"
            ) from None


def _root(error: BaseException) -> str:
    """Type and first line of the innermost cause."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {first_line(error)}"
