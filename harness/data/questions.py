"""Question sets through ``datasets``: local JSONL / Parquet files or the hub, by their columns.

MT-bench: ``question_id``, ``category``, ``turns`` (FastChat's question.jsonl), or ``prompt_id``,
``category``, ``prompt`` (HuggingFaceH4/mt_bench_prompts); it has no train split, so that
conversations may stand in for one: ``messages`` (HuggingFaceH4/ultrachat_200k), of which the first
two user turns are asked. GSM8K: ``question``, ``answer`` ending in ``#### N``
(openai/gsm8k). XSum: ``document``, ``summary``, ``id`` (EdinburghNLP/xsum; the hub's copy is
script-based, which current ``datasets`` refuses, so it is read at revision
``refs/convert/parquet``).
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
from pydantic import ConfigDict

from harness.data.chat import SUMMARISE
from harness.errors import HarnessError, first_line

# Reading a question file takes a moment; a bar for it only hides what matters in the logs.
datasets.disable_progress_bars()


@dataclass(frozen=True, slots=True)
class Source:
    """Where a split's records are. Exactly one of ``path`` (local file) and ``hub`` (id).

    ``skip`` and ``first`` cut the split; ``name`` / ``revision`` / ``split`` are the hub's.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    path: str | None = None
    hub: str | None = None
    name: str | None = None
    revision: str | None = None
    split: str | None = None
    skip: int = 0
    first: int | None = None

    def __post_init__(self) -> None:
        if (self.path is None) == (self.hub is None):
            raise HarnessError(f"data source {self}: expected exactly one of path and hub")
        if self.hub is not None and self.split is None:
            raise HarnessError(f"data source '{self.hub}': no split, expected the name of one")


@dataclass(frozen=True, slots=True)
class Question:
    """One question: its user turns, and reference answers where the set has them."""

    question_id: str
    category: str
    turns: tuple[str, ...]
    references: tuple[str, ...] = ()


def load_questions(dataset: str, source: Source) -> list[Question]:
    """Questions of a split, in file order."""
    if dataset not in _ADAPTERS:
        raise HarnessError(f"dataset '{dataset}': expected one of {', '.join(_ADAPTERS)}")
    records = _load(source)
    where = source.path or source.hub
    adapt = _adapter(dataset, records.column_names, str(where))
    end = len(records) if source.first is None else min(len(records), source.skip + source.first)
    chosen = range(min(source.skip, end), end)
    if not chosen:
        raise HarnessError(f"{where}: {len(records)} records, expected more than {source.skip}")
    try:
        return [adapt(records[index], index) for index in chosen]
    except (TypeError, AttributeError, KeyError, ValueError) as error:
        raise HarnessError(f"{where}: a record does not fit {dataset} ({error})") from None


def _adapter(dataset: str, found: list[str], where: str) -> "_Adapter":
    """What reads records of the columns ``found``; the first layout is told where none fits."""
    layouts = _ADAPTERS[dataset]
    for columns, adapt in layouts:
        if set(columns) <= set(found):
            return adapt
    columns = layouts[0][0]
    missing = next(column for column in columns if column not in found)
    raise HarnessError(
        f"{where}: no column '{missing}', found {found}; {dataset} needs {', '.join(columns)}"
    )


def _load(source: Source) -> datasets.Dataset:
    if source.path is not None:
        return _load_local(Path(source.path))
    try:
        return datasets.load_dataset(
            source.hub, source.name, revision=source.revision, split=source.split
        )
    except Exception as error:  # the hub fails in many ways; all of them mean: not loaded
        raise HarnessError(
            f"hub data set '{source.hub}' (revision {source.revision}, split {source.split}): "
            f"could not be loaded: {_root(error)}"
        ) from None


def _load_local(path: Path) -> datasets.Dataset:
    kinds = {".jsonl": "json", ".json": "json", ".parquet": "parquet"}
    if path.suffix not in kinds:
        raise HarnessError(f"{path}: expected a .jsonl, .json or .parquet file")
    if not path.is_file():
        raise HarnessError(f"{path}: no such file")
    # A cache of its own: the shared one would serve yesterday's version of a changed file.
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
    """First line of the innermost cause."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {first_line(error)}"


def _text(value: Any, column: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{column} is {value!r}, expected text")
    return value


def _mtbench(record: dict[str, Any], index: int) -> Question:
    turns = tuple(_text(turn, "turns") for turn in record["turns"])
    references = tuple(record.get("reference") or ())
    return Question(
        str(record["question_id"]), _text(record["category"], "category"), turns, references
    )


def _mtbench_of_h4(record: dict[str, Any], index: int) -> Question:
    named = {"question_id": record["prompt_id"], "turns": record["prompt"]}
    return _mtbench({**record, **named}, index)


def _conversation(record: dict[str, Any], index: int) -> Question:
    said = [message["content"] for message in record["messages"] if message["role"] == "user"]
    turns = tuple(_text(turn, "messages") for turn in said[:2])
    if not turns:
        raise ValueError("messages without a user's")
    return Question(str(index), "conversation", turns)


def _gsm8k(record: dict[str, Any], index: int) -> Question:
    turns = (_text(record["question"], "question"),)
    return Question(str(index), "math", turns, (_text(record["answer"], "answer"),))


def _xsum(record: dict[str, Any], index: int) -> Question:
    turns = (f"{SUMMARISE}\n{_text(record['document'], 'document')}",)
    identifier = str(record.get("id", index))
    return Question(identifier, "summary", turns, (_text(record["summary"], "summary"),))


_Adapter = Callable[[dict[str, Any], int], Question]
_ADAPTERS: dict[str, tuple[tuple[tuple[str, ...], _Adapter], ...]] = {
    "mtbench": (
        (("question_id", "category", "turns"), _mtbench),
        (("prompt_id", "category", "prompt"), _mtbench_of_h4),
        (("messages",), _conversation),
    ),
    "gsm8k": ((("question", "answer"), _gsm8k),),
    "xsum": ((("document", "summary"), _xsum),),
}
DATASETS = tuple(_ADAPTERS)
