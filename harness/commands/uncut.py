"""Answer test questions untimed and under a cap of their own, to score whole answers."""

import argparse
from pathlib import Path

from harness.commands.options import Argument, parse_caps, parse_spec, use_threads
from harness.data.answers import greedy_answers
from harness.data.prompts import read_prompts
from harness.files import write_jsonl
from harness.models import load_target, load_tokenizer, stop_ids


def arguments(add: Argument) -> None:
    """Add the subcommand's arguments."""
    add("--model", required=True, type=parse_spec, help="JSON: where the model is")
    add("--prompts", required=True, nargs="+", type=Path)
    add("--caps", required=True, type=parse_caps, help="JSON: dataset -> new tokens at most")
    add("--out", required=True, type=Path)


def run(options: argparse.Namespace) -> None:
    """Write one line per prompt: id, data set, reference, answer ids and text, whether it ended."""
    use_threads(options.threads)
    prompts = [prompt for file in options.prompts for prompt in read_prompts(file)]
    target, tokenizer = load_target(options.model), load_tokenizer(options.model)
    stops = stop_ids(target, tokenizer)
    outputs = greedy_answers(target, prompts, options.caps, stops)
    lines = [
        {
            "prompt_id": prompt.prompt_id,
            "dataset": prompt.dataset,
            "reference": prompt.reference,
            "text": tokenizer.decode(ids, skip_special_tokens=True),
            "output_ids": ids,
            "ended": bool(ids) and ids[-1] in stops,
        }
        for prompt, ids in zip(prompts, outputs, strict=True)
    ]
    write_jsonl(options.out, lines)
