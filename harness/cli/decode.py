"""Trying a method on a prompt of one's own."""

import argparse
import sys
from pathlib import Path
from typing import Any

from harness.cli.common import command, parse_json, use_threads
from harness.errors import HarnessError
from harness.files import checked


def add(commands: Any) -> None:
    """The command that decodes one prompt."""
    add = command(commands, "decode", "decode a prompt with a method, beside plain decoding", _run)
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


def _run(options: argparse.Namespace) -> None:
    from harness.commands.decode import Asked, decode

    use_threads(options.threads)
    settings = checked(dict[str, Any], parse_json(options.settings, "--settings"), "--settings")
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
    """The text that is given, in one of three ways."""
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
