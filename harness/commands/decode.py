"""Decoding one prompt with one method in front of a person, beside autoregressive decoding."""

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from harness.api import PLAIN, Answer, load
from harness.decoder import StepRecord
from harness.errors import HarnessError
from harness.experiment.arms import Settings, parse_arm

MINI = Path("workflows/resources/mini-target"), Path("workflows/resources/mini-parts")
_GREEN, _PLAIN = "\x1b[32m", "\x1b[0m"
_UNFINISHED = "\ufffd"  # what a character decodes to while some of its bytes are still to come


@dataclass(frozen=True, slots=True)
class Asked:
    """What is decoded, and how; ``model`` a folder or ``mini``, ``folder`` of trained parts."""

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
    """Writes committed tokens as text, those that were drafted and accepted in colour."""

    def __init__(self, tokenizer: Any, out: TextIO, *, coloured: bool) -> None:
        self._tokenizer, self._out, self._coloured = tokenizer, out, coloured
        self._ids: list[int] = []
        self._written = ""

    def step(self, record: StepRecord) -> None:
        """Write a step: accepted drafts first, then the token that the target chose itself."""
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
    """Stream the answer, then time it and autoregressive decoding of the same prompt silently."""
    folder, parts = (MINI[0], MINI[1]) if asked.model == "mini" else (Path(asked.model), None)
    if asked.model == "mini" and not MINI[0].is_dir():
        raise HarnessError(f"{MINI[0]}: no such folder, it is part of a checkout; run from there")
    if not asked.prompt.strip():
        raise HarnessError("prompt: empty, expected --prompt, --prompt-file or text on stdin")
    model = load(folder, asked.chat, asked.dtype, asked.device)
    decoder = model.decoder(asked.method, asked.folder or _shipped(parts, asked), asked.settings)
    plain = model.decoder(PLAIN)
    writer = Writer(model.tokenizer, sys.stdout, coloured=_coloured())
    emit = (lambda _: None) if asked.as_json else writer.step
    model.stream(decoder, asked.prompt, asked.max_new_tokens, emit)
    # The first decodes of both pay for masks and buffers.
    model.stream(plain, asked.prompt, asked.max_new_tokens, lambda _: None)
    answers = [model.decode(way, asked.prompt, asked.max_new_tokens) for way in (decoder, plain)]
    _tell(asked, *answers)


def _shipped(parts: Path | None, asked: Asked) -> Path | None:
    """The folder of the method's ready-made part, where the model has one."""
    if parts is None:
        return None
    folder = parts / parse_arm(asked.method, None).folder
    return folder if folder.is_dir() else None


def _coloured() -> bool:
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ


def _tell(asked: Asked, answer: Answer, plain: Answer) -> None:
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
    same = "the same text" if answer.ids == plain.ids else "ANOTHER TEXT"
    print(
        f"\n\n{asked.method}: {len(answer.ids)} tokens in {answer.steps} steps after the first, "
        f"{answer.acceptance_length:.2f} a step, {answer.seconds:.3f} s, "
        f"{answer.tokens_per_second:.1f} tokens/s\n"
        f"autoregressive: {plain.steps} steps, {plain.seconds:.3f} s, "
        f"{plain.tokens_per_second:.1f} tokens/s, {same}"
    )
