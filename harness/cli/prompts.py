"""Freezing prompts, and answering them untimed."""

import argparse
from pathlib import Path
from typing import Any

from harness.cli.common import command, parse_caps, parse_json, parse_spec, use_threads
from harness.files import checked


def add(commands: Any) -> None:
    """Steps that freeze prompts and answer them, untimed."""
    for name, text, run in (
        ("first-turns", "answer first turns, untimed", _first_turns),
        ("freeze", "freeze a split's prompts", _freeze),
    ):
        add = command(commands, name, text, run)
        add("--model", required=True, help="JSON: where the model is")
        add("--split", required=True, help="JSON: dataset, source, few_shot, longest_prompt")
        add("--out", required=True, type=Path)
        if name == "freeze":
            add("--first-turns", type=Path)
        else:
            add("--cap", required=True, type=int)

    add = command(commands, "answer", "the target's greedy answers, untimed", _answer)
    add("--model", required=True)
    add("--prompts", required=True, nargs="+", type=Path)
    add("--caps", required=True, help="JSON: dataset -> new tokens at most")
    add("--out", required=True, type=Path)


def _split(text: str) -> Any:
    from harness.commands.prompts import Split

    return checked(Split, parse_json(text, "--split"), "--split", strict=False)


def _first_turns(options: argparse.Namespace) -> None:
    from harness.commands.prompts import answer_first_turns

    use_threads(options.threads)
    answer_first_turns(parse_spec(options.model), _split(options.split), options.cap, options.out)


def _freeze(options: argparse.Namespace) -> None:
    from harness.commands.prompts import freeze_prompts

    freeze_prompts(
        parse_spec(options.model), _split(options.split), options.first_turns, options.out
    )


def _answer(options: argparse.Namespace) -> None:
    from harness.commands.prompts import answer_prompts

    use_threads(options.threads)
    caps = parse_caps(options.caps)
    answer_prompts(parse_spec(options.model), options.prompts, caps, options.out)
