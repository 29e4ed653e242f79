"""Decode one prompt with one method on the terminal, beside autoregressive decoding."""

import argparse
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from harness.api import PLAIN, Answer, load
from harness.commands.options import MINI, Argument, mini_folder, parse_json, use_threads
from harness.decoder import StepRecord
from harness.errors import HarnessError
from harness.experiment.arms import Settings, parse_arm
from harness.files import checked

_GREEN, _PLAIN = "\x1b[32m", "\x1b[0m"
_UNFINISHED = "\ufffd"  # what a character decodes to while some of its bytes are still to come


@dataclass(frozen=True, slots=True)
class Asked:
    """The command's request: ``model`` is a folder or ``mini``, ``folder`` holds trained parts."""

    model: str
    method: str
    prompt: str
    folder: Path | None
    settings: Settings
    max_new_tokens: int
    chat: str
    dtype: str
    device: str
    as_json: bool


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


def decode(asked: Asked) -> None:
    """Stream the answer, then time the method and autoregressive decoding on the same prompt."""
    mini = asked.model == "mini"
    folder, parts = (mini_folder(), MINI[1]) if mini else (Path(asked.model), None)
    if not asked.prompt.strip():
        raise HarnessError("prompt: empty, expected --prompt, --prompt-file or text on stdin")
    model = load(folder, asked.chat, asked.dtype, asked.device)
    decoder = model.decoder(asked.method, asked.folder or _shipped(parts, asked), asked.settings)
    plain = model.decoder(PLAIN)
    writer = Writer(model.tokenizer, sys.stdout, coloured=_coloured())
    emit = (lambda _: None) if asked.as_json else writer.step
    model.stream(decoder, asked.prompt, asked.max_new_tokens, emit)
    # The first decode of each also builds masks and buffers, so only the second one is timed.
    model.stream(plain, asked.prompt, asked.max_new_tokens, lambda _: None)
    answers = [model.decode(each, asked.prompt, asked.max_new_tokens) for each in (decoder, plain)]
    _print_result(asked, *answers)


def _shipped(parts: Path | None, asked: Asked) -> Path | None:
    """The folder of the method's ready-made part; None where there is none."""
    if parts is None:
        return None
    arm = parse_arm(asked.method, None)
    folder = parts / (arm.shares or arm.folder)
    return folder if folder.is_dir() else None


def _coloured() -> bool:
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ


def _print_result(asked: Asked, answer: Answer, plain: Answer) -> None:
    figures = {
        "method": asked.method,
        "tokens": len(answer.ids),
        "steps": answer.steps,
        "acceptance_length": round(answer.acceptance_length, 4),
        "seconds": round(answer.seconds, 4),
        "tokens_per_second": round(answer.tokens_per_second, 2),
        "autoregressive_seconds": round(plain.seconds, 4),
        "autoregressive_tokens_per_second": round(plain.tokens_per_second, 2),
        "equal": answer.ids == plain.ids,
    }
    if asked.as_json:
        print(json.dumps({"text": answer.text, "ids": answer.ids, **figures}))
        return
    verdict = "the same text" if answer.ids == plain.ids else "ANOTHER TEXT"
    print(
        f"\n\n{asked.method}: {len(answer.ids)} tokens in {answer.steps} steps after the first, "
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
    add("--settings", default="{}", help="JSON: as under methods in a config")
    add("--prompt", help="text; else --prompt-file, else stdin")
    add("--prompt-file", type=Path)
    add("--max-new-tokens", type=int, default=128)
    add("--chat", default="tokenizer", help="tokenizer, plain, fschat:NAME, or raw for no template")
    add("--dtype", default="float32", choices=("float32", "bfloat16", "float16"))
    add("--device", default="cpu")
    add("--json", action="store_true", help="one JSON object instead of streamed text")


def run(options: argparse.Namespace) -> None:
    """Run the subcommand."""
    use_threads(options.threads)
    settings = checked(Settings, parse_json(options.settings, "--settings"), "--settings")
    if options.max_new_tokens < 1:
        raise HarnessError(f"--max-new-tokens: {options.max_new_tokens}, expected at least 1")
    decode(
        Asked(
            options.model,
            options.method,
            _prompt(options),
            options.folder,
            settings,
            options.max_new_tokens,
            options.chat,
            options.dtype,
            options.device,
            options.json,
        )
    )


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
