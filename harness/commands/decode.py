"""Decode one prompt with one method on the terminal, beside autoregressive decoding."""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any, TextIO

from harness.api import Answer, load
from harness.commands.options import MINI, Argument, mini_folder, parse_mapping, use_threads
from harness.decoder import StepRecord
from harness.errors import HarnessError
from harness.experiment.arms import parse_arm
from harness.experiment.records import BASELINE

_GREEN, _PLAIN = "\x1b[32m", "\x1b[0m"
_UNFINISHED = "\ufffd"  # what a character decodes to while some of its bytes are still to come


class Writer:
    """Writes committed tokens as text, with accepted draft tokens in colour."""

    def __init__(self, tokenizer: Any, out: TextIO, *, coloured: bool) -> None:
        self._tokenizer, self._out, self._coloured = tokenizer, out, coloured
        self._ids: list[int] = []
        self._written = ""

    def step(self, record: StepRecord) -> None:
        """Write a step's tokens: accepted drafts first, then the token that the target chose."""
        for place, token in enumerate(record.tokens):
            self._ids.append(token)
            self._write(accepted=place < len(record.path))
        self._out.flush()

    def _write(self, *, accepted: bool) -> None:
        text = str(self._tokenizer.decode(self._ids, skip_special_tokens=True))
        if text.endswith(_UNFINISHED):
            return
        piece, self._written = text[len(self._written) :], text
        self._out.write(f"{_GREEN}{piece}{_PLAIN}" if accepted and self._coloured else piece)


def _shipped(method: str) -> Path | None:
    """The folder of the method's ready-made part for mini; None where there is none."""
    arm = parse_arm(method, None)
    folder = MINI[1] / (arm.shares or arm.folder)
    return folder if folder.is_dir() else None


def _coloured() -> bool:
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ


def _print_result(method: str, answer: Answer, plain: Answer, *, as_json: bool) -> None:
    figures = {
        "method": method,
        "tokens": len(answer.ids),
        "steps": answer.steps,
        "acceptance_length": round(answer.acceptance_length, 4),
        "seconds": round(answer.seconds, 4),
        "tokens_per_second": round(answer.tokens_per_second, 2),
        "autoregressive_seconds": round(plain.seconds, 4),
        "autoregressive_tokens_per_second": round(plain.tokens_per_second, 2),
        "equal": answer.ids == plain.ids,
    }
    if as_json:
        print(json.dumps({"text": answer.text, "ids": answer.ids, **figures}))
        return
    verdict = "the same text" if answer.ids == plain.ids else "ANOTHER TEXT"
    print(
        f"\n\n{method}: {len(answer.ids)} tokens in {answer.steps} steps after the first, "
        f"{answer.acceptance_length:.2f} a step, {answer.seconds:.3f} s, "
        f"{answer.tokens_per_second:.1f} tokens/s\n"
        f"autoregressive: {plain.steps} steps, {plain.seconds:.3f} s, "
        f"{plain.tokens_per_second:.1f} tokens/s, {verdict}"
    )


def arguments(add: Argument) -> None:
    """Add the subcommand's arguments."""
    add("--model", required=True, help="a model's folder, or mini")
    add("--method", required=True)
    add("--folder", type=Path, help="what the method's training and tuning wrote")
    told = "JSON: as under methods in a config"
    add("--settings", default="{}", type=parse_mapping, help=told)
    add("--prompt", help="text; else --prompt-file, else stdin")
    add("--prompt-file", type=Path)
    add("--max-new-tokens", type=int, default=128)
    add("--chat", default="tokenizer", help="tokenizer, plain, fschat:NAME, or raw for no template")
    add("--dtype", default="float32", choices=("float32", "bfloat16", "float16"))
    add("--device", default="cpu")
    add("--json", action="store_true", help="one JSON object instead of streamed text")


def run(options: argparse.Namespace) -> None:
    """Stream the answer, then time the method and autoregressive decoding on the same prompt."""
    use_threads(options.threads)
    cap, mini = options.max_new_tokens, options.model == "mini"
    if cap < 1:
        raise HarnessError(f"--max-new-tokens: {cap}, expected at least 1")
    prompt = _prompt(options)
    if not prompt.strip():
        raise HarnessError("prompt: empty, expected --prompt, --prompt-file or text on stdin")
    folder = mini_folder() if mini else Path(options.model)
    model = load(folder, options.chat, options.dtype, options.device)
    parts = options.folder or (_shipped(options.method) if mini else None)
    decoder = model.decoder(options.method, parts, options.settings)
    plain = model.decoder(BASELINE)
    writer = Writer(model.tokenizer, sys.stdout, coloured=_coloured())
    model.stream(decoder, prompt, cap, (lambda _: None) if options.json else writer.step)
    # The first decode of each also builds masks and buffers, so only the second one is timed.
    model.stream(plain, prompt, cap, lambda _: None)
    answers = [model.decode(each, prompt, cap) for each in (decoder, plain)]
    _print_result(options.method, *answers, as_json=options.json)


def _prompt(options: argparse.Namespace) -> str:
    """The prompt text, from --prompt, --prompt-file or stdin."""
    if options.prompt is not None:
        return str(options.prompt)
    if options.prompt_file is not None:
        try:
            return str(options.prompt_file.read_text())
        except UnicodeDecodeError as error:
            raise HarnessError(
                f"{options.prompt_file}: expected UTF-8 text, found {error}"
            ) from None
    if sys.stdin is None or sys.stdin.isatty():
        raise HarnessError("prompt: none given, expected --prompt, --prompt-file or text on stdin")
    return sys.stdin.read()
