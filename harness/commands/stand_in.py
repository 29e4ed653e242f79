"""Generate a stand-in question set."""

import argparse
from pathlib import Path

from harness.commands.options import Argument
from harness.files import write_jsonl
from harness.mini.corpus import record


def make_stand_in(dataset: str, split: str, count: int, seed: int, out: Path) -> None:
    """Write ``count`` records of a stand-in as JSON lines in the real set's columns."""
    write_jsonl(out, (record(dataset, split, index, seed) for index in range(count)))


def arguments(add: Argument) -> None:
    """Add the subcommand's arguments."""
    add("--dataset", required=True)
    add("--split", required=True)
    add("--count", required=True, type=int)
    add("--seed", default=0, type=int)
    add("--out", required=True, type=Path)


def run(options: argparse.Namespace) -> None:
    """Run the subcommand."""
    make_stand_in(options.dataset, options.split, options.count, options.seed, options.out)
