"""Generated question sets."""

from pathlib import Path

from harness.files import write_jsonl
from harness.mini.corpus import record


def make_stand_in(dataset: str, split: str, count: int, seed: int, out: Path) -> None:
    """Write ``count`` records of a stand-in as JSON lines in the real set's columns."""
    write_jsonl(out, (record(dataset, split, index, seed) for index in range(count)))
