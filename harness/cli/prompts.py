"""Freezing prompts, and answering them untimed."""

import argparse
from pathlib import Path
from typing import Any

from harness.cli.common import command, parse_caps, parse_json, parse_spec, use_threads
from harness.experiment.steps import Freeze
from harness.files import parsed


def add(commands: Any) -> None:
    """Steps that freeze prompts and answer them, untimed."""
    add = command(commands, "freeze", "freeze the prompts of splits, one after the other", _freeze)
    add("--model", required=True, help="JSON: where the model is")
    add("--splits", required=True, help="JSON: a list of splits, each with the file it goes to")

    add = command(commands, "answer", "the target's greedy answers, untimed", _answer)
    add("--model", required=True)
    add("--prompts", required=True, nargs="+", type=Path)
    add("--first-turns", nargs="*", default=[], type=Path, help="answers that are known already")
    add("--caps", required=True, help="JSON: dataset -> new tokens at most")
    add("--out", required=True, type=Path)


def _freeze(options: argparse.Namespace) -> None:
    from harness.commands.prompts import freeze_splits

    use_threads(options.threads)
    given = parsed(list[Freeze], parse_json(options.splits, "--splits"), "--splits")
    freeze_splits(parse_spec(options.model), given)


def _answer(options: argparse.Namespace) -> None:
    from harness.commands.prompts import answer_prompts

    use_threads(options.threads)
    caps = parse_caps(options.caps)
    spec = parse_spec(options.model)
    answer_prompts(spec, options.prompts, options.first_turns, caps, options.out)
