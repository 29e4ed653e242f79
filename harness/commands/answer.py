"""Write the target's greedy answers to frozen prompts, untimed."""

import argparse
from pathlib import Path

from harness.commands.options import Argument, parse_caps, parse_spec, use_threads
from harness.commands.prompts import answer_prompts


def arguments(add: Argument) -> None:
    """Add the subcommand's arguments."""
    add("--model", required=True, type=parse_spec, help="JSON: where the model is")
    add("--prompts", required=True, nargs="+", type=Path)
    add("--first-turns", nargs="*", default=[], type=Path, help="answers that are known already")
    add("--caps", required=True, type=parse_caps, help="JSON: dataset -> new tokens at most")
    add("--out", required=True, type=Path)


def run(options: argparse.Namespace) -> None:
    """Run the subcommand."""
    use_threads(options.threads)
    asked = (options.prompts, options.first_turns, options.caps)
    answer_prompts(options.model, *asked, options.out)
