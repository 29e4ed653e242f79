"""Print the JSON schema of a config."""

import argparse
import json

from harness.commands.options import Argument
from harness.experiment.config import Experiment


def arguments(add: Argument) -> None:
    """Add the subcommand's arguments."""
    del add  # no arguments


def run(options: argparse.Namespace) -> None:
    """Run the subcommand."""
    print(json.dumps(Experiment.model_json_schema(), indent=2))
