"""Decoding a prompt with one method, from Python.

from harness.api import load

model = load("workflows/resources/mini-target")
firp = model.decoder("firp", "workflows/resources/mini-parts/firp")
answer = model.decode(firp, "Tom has 3 apples and buys 4. How many apples has Tom?")
print(answer.text, answer.acceptance_length)
"""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.data.chat import prompt_ids
from harness.decoder import Decoder, Emit, Request, StepRecord
from harness.engine.target import SPARE_ROWS, Target
from harness.errors import HarnessError
from harness.experiment.arms import Arm, Settings, parse_arm
from harness.experiment.folder import SETTING
from harness.files import write_json
from harness.measure.timing import run_timed
from harness.method import Setting, parse_settings
from harness.models import ModelSpec, load_target, load_tokenizer, stop_ids


@dataclass(frozen=True, slots=True)
class Answer:
    """A decoded answer: its text, its token ids, its step records, and how long it took.

    ``seconds`` covers prefill and decode phase, ``decode_seconds`` the decode phase alone.
    """

    text: str
    ids: list[int]
    records: list[StepRecord]
    seconds: float
    decode_seconds: float

    @property
    def steps(self) -> int:
        """Number of decode steps, without the prefill."""
        return len(self.records) - 1

    @property
    def decode_tokens(self) -> int:
        """Number of tokens committed by decode steps, without those of the prefill."""
        return len(self.ids) - len(self.records[0].tokens)

    @property
    def acceptance_length(self) -> float:
        """Tokens committed per decode step; 0 for an answer that ended with the prefill."""
        return self.decode_tokens / self.steps if self.steps else 0.0

    @property
    def tokens_per_second(self) -> float:
        """Tokens per second of the decode phase; 0 for an answer that ended with the prefill."""
        return self.decode_tokens / self.decode_seconds if self.steps else 0.0


@dataclass(frozen=True, slots=True)
class Model:
    """A target, its tokenizer, its stop ids, and ``chat``: how a prompt becomes ids, see load."""

    target: Target
    tokenizer: Any
    chat: str
    stops: frozenset[int]

    def decoder(
        self,
        method: str,
        folder: str | Path | None = None,
        settings: Settings | None = None,
    ) -> Decoder:
        """A method's decoder for this target.

        ``folder`` holds what the method's training and tuning wrote. If it has no tuned setting,
        the method's plain setting is used. ``settings`` are given as under ``methods`` in a config.
        Raises HarnessError for an unknown method, and if a trained part or a setting is missing.
        """
        arm = parse_arm(method, settings)
        if folder is not None and not Path(folder).is_dir():
            raise HarnessError(f"folder '{Path(folder)}': no such folder")
        if folder is None and arm.prepared.trained:
            raise HarnessError(
                f"method '{method}': no folder, expected the one that its training wrote"
            )
        parsed = parse_settings(method, arm.method, arm.settings)
        with tempfile.TemporaryDirectory() as temporary:
            parts = Path(temporary if folder is None else folder)
            if arm.prepared.tuned and not (parts / SETTING).is_file():
                setting = _plain_setting(arm, parsed, parts)
                parts = shutil.copytree(parts, Path(temporary) / "prepared")
                write_json(parts / SETTING, setting)
            return arm.method.build(self.target, parsed, parts)

    def ids(self, prompt: str) -> tuple[int, ...]:
        """Token ids of a prompt, which becomes a user turn unless ``chat`` is ``raw``."""
        if self.chat == "raw":
            return tuple(self.tokenizer(prompt)["input_ids"])
        message = {"role": "user", "content": prompt}
        return tuple(prompt_ids(self.tokenizer, self.chat, [message]))

    def request(self, prompt: str, max_new_tokens: int) -> Request:
        """The request for a decoder. Refuses an empty prompt, and one that with its answer does not
        fit into the model's context.
        """
        ids = self.ids(prompt)
        if not ids:
            raise HarnessError("prompt: no tokens, expected at least one")
        context = getattr(self.target.config, "max_position_embeddings", None)
        if context is not None and len(ids) + max_new_tokens > context:
            raise HarnessError(
                f"prompt and answer: {len(ids)} + {max_new_tokens} tokens, expected at most the "
                f"model's context of {context}"
            )
        return Request(ids, max_new_tokens, self.stops)

    def decode(self, decoder: Decoder, prompt: str, max_new_tokens: int = 128) -> Answer:
        """The answer to ``prompt``, timed as in a session: clocks run around phases, not steps."""
        request = self.request(prompt, max_new_tokens)
        self.target.begin(len(request.prompt_ids) + max_new_tokens + SPARE_ROWS)
        run = run_timed(decoder, request, self.target.device)
        seconds = run.prefill_seconds + run.decode_seconds
        text = str(self.tokenizer.decode(run.tokens, skip_special_tokens=True))
        return Answer(text, run.tokens, run.records, seconds, run.decode_seconds)

    def stream(self, decoder: Decoder, prompt: str, max_new_tokens: int, emit: Emit) -> None:
        """Decode untimed; ``emit`` gets each step's record as its tokens are committed."""
        decoder.decode(self.request(prompt, max_new_tokens), emit)


def _plain_setting(arm: Arm, settings: Any, parts: Path) -> Setting:
    """The setting without tuning, of the method whose training and tuning the arm decodes with."""
    name = arm.entry.uses or arm.of
    method = parse_arm(name, None).method
    if method.plain is None:
        raise HarnessError(f"method '{name}': no {SETTING} in {parts}, expected its tuning")
    return method.plain(method.settings() if arm.entry.uses else settings, parts)


def load(
    model: str | Path, chat: str = "tokenizer", dtype: str = "float32", device: str = "cpu"
) -> Model:
    """Load a target from a folder in the hub's format. ``chat``: ``tokenizer``, ``plain`` or
    ``fschat:<name>`` (see harness.data.chat), or ``raw`` for a prompt without any template.
    """
    spec = ModelSpec(path=str(model), dtype=dtype, device=device)
    target, tokenizer = load_target(spec), load_tokenizer(spec)
    return Model(target, tokenizer, chat, stop_ids(target, tokenizer))
