"""Decoding a prompt with one method, from Python.

from harness.api import load

model = load("workflows/resources/mini-target")
firp = model.decoder("firp", "workflows/resources/mini-parts/firp")
answer = model.decode(firp, "Tom has 3 apples and buys 4. How many apples has Tom?")
print(answer.text, answer.acceptance_length)
"""

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.data.chat import prompt_ids
from harness.decoder import Decoder, Emit, Request, StepRecord
from harness.engine.target import SPARE_ROWS, Target
from harness.errors import HarnessError
from harness.experiment.arms import Settings, parse_arm
from harness.files import write_json
from harness.measure.timing import run_timed
from harness.method import parse_settings
from harness.models import ModelSpec, load_target, load_tokenizer, stop_ids

SETTING = "setting.json"
PLAIN = "autoregressive"


@dataclass(frozen=True, slots=True)
class Answer:
    """A decoded answer: its text, its token ids, the step records, and seconds where it was timed.

    ``seconds`` covers prefill and decode, ``decode_seconds`` all but the prefill.
    """

    text: str
    ids: list[int]
    records: list[StepRecord]
    seconds: float
    decode_seconds: float

    @property
    def steps(self) -> int:
        """Decode steps, the prefill left out."""
        return len(self.records) - 1

    @property
    def acceptance_length(self) -> float:
        """Tokens committed per decode step; 0 for an answer that ended with the prefill."""
        return (len(self.ids) - 1) / self.steps if self.steps else 0.0

    @property
    def tokens_per_second(self) -> float:
        """Of the decode phase; 0 where nothing was left to decode."""
        return (len(self.ids) - 1) / self.decode_seconds if self.steps else 0.0


@dataclass(frozen=True, slots=True)
class Model:
    """A target with its tokenizer; ``chat`` says how a prompt becomes ids (harness.data.chat)."""

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

        ``folder`` holds what the method's training and tuning wrote; without a tuned setting in it
        the method's plain one is used. ``settings`` as under ``methods`` in a config. Raises
        HarnessError for an unknown method, and for one whose trained parts are not in the folder.
        """
        arm = parse_arm(method, settings)
        chosen = arm.method
        place = None if folder is None else Path(folder)
        if place is not None and not place.is_dir():
            raise HarnessError(f"folder '{place}': no such folder")
        if arm.prepared.trained and place is None:
            raise HarnessError(
                f"method '{method}': no folder, expected the one that its training wrote"
            )
        parsed = parse_settings(method, chosen, arm.settings)
        if not arm.prepared.tuned or (place and (place / SETTING).is_file()):
            return chosen.build(self.target, parsed, place)
        base = arm.entry.uses or arm.of
        return self._untuned(base, place, lambda found: chosen.build(self.target, parsed, found))

    def _untuned(
        self, prepared: str, place: Path | None, build: Callable[[Path], Decoder]
    ) -> Decoder:
        """A decoder with the plain setting, laid beside a copy of what was trained."""
        method = parse_arm(prepared, None).method
        if method.plain is None:
            raise HarnessError(f"method '{prepared}': no {SETTING} in {place}, expected its tuning")
        with tempfile.TemporaryDirectory() as temporary:
            whole = Path(temporary) / "prepared"
            if place is None:
                whole.mkdir()
            else:
                shutil.copytree(place, whole)
            write_json(whole / SETTING, method.plain(method.settings(), place))
            return build(whole)

    def ids(self, prompt: str) -> tuple[int, ...]:
        """Token ids of a prompt; a chat template makes a user's turn of it."""
        if self.chat == "raw":
            return tuple(self.tokenizer(prompt)["input_ids"])
        message = {"role": "user", "content": prompt}
        return tuple(prompt_ids(self.tokenizer, self.chat, [message]))

    def request(self, prompt: str, max_new_tokens: int) -> Request:
        """What a decoder is given; refuses what the model's context does not hold."""
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
        """The answer to ``prompt``, timed as sessions are: a clock at the ends of both phases."""
        request = self.request(prompt, max_new_tokens)
        self.target.begin(len(request.prompt_ids) + max_new_tokens + SPARE_ROWS)
        run = run_timed(decoder, request, self.target.device)
        seconds = run.prefill_seconds + run.decode_seconds
        text = str(self.tokenizer.decode(run.tokens, skip_special_tokens=True))
        return Answer(text, run.tokens, run.records, seconds, run.decode_seconds)

    def stream(self, decoder: Decoder, prompt: str, max_new_tokens: int, emit: Emit) -> None:
        """Decode untimed; ``emit`` gets each step's record as its tokens are committed."""
        decoder.decode(self.request(prompt, max_new_tokens), emit)


def load(
    model: str | Path, chat: str = "tokenizer", dtype: str = "float32", device: str = "cpu"
) -> Model:
    """A target from a folder in the hub's form. ``chat``: ``tokenizer``, ``plain``,
    ``fschat:<name>``, or ``raw`` for a prompt without any template.
    """
    spec = ModelSpec(path=str(model), dtype=dtype, device=device)
    target, tokenizer = load_target(spec), load_tokenizer(spec)
    return Model(target, tokenizer, chat, stop_ids(target, tokenizer))
