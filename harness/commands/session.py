"""Time all arms on one data set."""

import argparse
from pathlib import Path

from harness.commands.options import Argument, parse_arms, parse_json, parse_spec, use_threads
from harness.experiment.steps import SessionStep
from harness.files import checked
from harness.measure.setup import SessionFiles, measure_session


def arguments(add: Argument) -> None:
    """Add the subcommand's arguments."""
    add("--model", required=True, type=parse_spec, help="JSON: where the model is")
    add("--methods", required=True, type=parse_arms, help="JSON: arm -> settings")
    add("--options", required=True, help="JSON: labels, seed, max_new_tokens, warmup")
    add("--prompts", required=True, type=Path)
    add("--warmup", required=True, type=Path)
    add("--folders", required=True, type=Path, help="a folder of each arm is in it")
    add("--out", required=True, type=Path)


def run(options: argparse.Namespace) -> None:
    """Run the subcommand."""
    use_threads(options.threads)
    files = SessionFiles(options.prompts, options.warmup, options.folders, options.out)
    step = checked(SessionStep, parse_json(options.options, "--options"), "--options")
    measure_session(options.model, options.methods, files, step)
