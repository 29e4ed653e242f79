"""Check tree attention on random and published trees against plain forwards of their paths."""

import argparse
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from harness.commands.options import Argument, parse_target, use_threads
from harness.experiment.folder import write_table
from harness.measure.tree_check import check_trees, known_trees
from harness.models import load_target, load_tokenizer
from methods.medusa.templates import TEMPLATES
from methods.shared.trees import StaticTree

# The prompt in front of the checked trees; any text will do.
TEXT = "A farmer has seventeen sheep and all but nine run away. How many are left? Let us count: "


def arguments(add: Argument) -> None:
    """Add the subcommand's arguments."""
    where = "a model's folder, mini, or JSON: where the model is"
    add("--model", required=True, type=parse_target, help=where)
    add("--out", type=Path, help="a CSV of what is printed")


def run(options: argparse.Namespace) -> None:
    """Run the subcommand."""
    use_threads(options.threads)
    target = load_target(options.model)
    prompt = load_tokenizer(options.model)(TEXT)["input_ids"]
    published = {f"Medusa, {name}": StaticTree(paths).shape for name, paths in TEMPLATES.items()}
    table = pd.DataFrame(map(asdict, check_trees(target, prompt, known_trees(published))))
    print(table.to_string(index=False))
    if options.out is not None:
        write_table(options.out, table, digits=5)
