"""transformers' assisted generation: a small draft model of the same tokenizer, outside our engine.

The draft model is trained here, on the same answers, for ``training_tokens`` whatever the budget of
other methods is (this is a yardstick, not a rival), or is given as a folder. Source: Leviathan et
al. (arXiv 2211.17192); ``generate(assistant_model=...)``.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from harness.decoder import Decoder
from harness.engine.target import Target
from harness.errors import HarnessError
from harness.files import sha256_file, write_json
from harness.method import Answer, Job, Method
from harness.models import store_by_column
from harness.pretrain.packing import Encoded, pack
from harness.pretrain.train import Recipe, Shape, new_target, train_target
from methods.hf_generate import HfGenerate

MODEL, CONFIG, LOG = "draft-model", "config.json", "training.jsonl"


@dataclass(frozen=True, slots=True)
class Settings:
    """``pretrained``: folder of a draft model; else one of this shape is trained.

    ``training_tokens`` counts positions. ``drafts`` and ``confidence`` are generate's
    ``num_assistant_tokens`` (its default) and ``assistant_confidence_threshold``: at 0, since any
    other value makes generate retune itself where scikit-learn happens to be installed.
    """

    pretrained: str = ""
    layers: int = 1
    width: int = 128
    heads: int = 4
    inner: int = 256
    training_tokens: int = 1_000_000
    rows: int = 20
    drafts: int = 20
    confidence: float = 0.0

    def __post_init__(self) -> None:
        sizes = (self.layers, self.width, self.heads, self.inner, self.rows, self.drafts)
        if min(sizes) < 1 or self.width % self.heads:
            raise HarnessError(
                f"methods.hf_assisted: layers, width, heads, inner, rows, drafts are {sizes}; "
                "expected numbers >= 1, width a multiple of heads"
            )


class HfAssisted(HfGenerate):
    """Assisted generation with a draft model that stands beside the target."""

    def __init__(self, target: Target, assistant: Any, settings: Settings) -> None:
        if assistant is target.model:
            raise HarnessError("hf_assisted: the draft model is the target, expected another")
        super().__init__(target, {"assistant_model": assistant})
        own = assistant.generation_config
        own.num_assistant_tokens = settings.drafts
        own.assistant_confidence_threshold = settings.confidence
        self._assistant = assistant

    def extra_bytes(self) -> int:
        """The target's cache and the draft model; the draft model's cache is not counted."""
        return super().extra_bytes() + sum(p.nbytes for p in self._assistant.parameters())


def build(target: Target, settings: Settings, folder: Path | None) -> Decoder:
    """generate with the draft model that was trained, or given."""
    where = settings.pretrained or (str(folder / MODEL) if folder else "")
    if not where:
        raise HarnessError("hf_assisted: no draft model; expected the folder of its training")
    assistant = AutoModelForCausalLM.from_pretrained(where, dtype=target.dtype)
    vocab = assistant.config.vocab_size
    if vocab != target.config.vocab_size:
        raise HarnessError(
            f"hf_assisted: draft model '{where}' has {vocab} tokens, expected "
            f"{target.config.vocab_size}, the target's"
        )
    assistant = assistant.to(target.device).eval()
    if target.device.type == "cpu":
        store_by_column(assistant)
    return HfAssisted(target, assistant, settings)


def train(job: Job) -> None:
    """Train the draft model on the target's answers to the train split, on the CPU."""
    settings: Settings = job.settings
    job.folder.mkdir(parents=True, exist_ok=True)
    if settings.pretrained:
        write_json(job.folder / CONFIG, {"pretrained": settings.pretrained})
        return
    config = job.target.config
    context = int(config.max_position_embeddings)
    shape = Shape(
        settings.layers,
        settings.width,
        settings.heads,
        settings.inner,
        config.vocab_size,
        context,
    )
    length = max(len(a.prompt) + len(a.answer) for a in (*job.train, *job.tune))
    recipe = Recipe(job.seed, settings.training_tokens, settings.rows, length)
    model = new_target(shape, config.eos_token_id, config.pad_token_id, job.seed)
    pad = config.pad_token_id or 0
    held_out = list(pack(iter(_encode(job.tune)), 1, length, pad))[:32]
    started = time.monotonic()
    loss = train_target(
        model,
        pack(_endless(job), settings.rows, length, pad),
        held_out,
        recipe,
        job.folder / LOG,
    )
    seconds = time.monotonic() - started
    model.save_pretrained(job.folder / MODEL)
    facts = {
        "target_hash": job.target.weights_hash,
        "data_hash": job.data_hash,
        "seed": job.seed,
        "training_seconds": round(seconds, 1),
        "trainable_parameters": sum(p.numel() for p in model.parameters()),
        "tune_loss": round(loss, 5),
        "sha256": sha256_file(job.folder / MODEL / "model.safetensors"),
    }
    write_json(job.folder / CONFIG, facts)


def _encode(answers: Any) -> list[Encoded]:
    """The target's tokens count, those of the prompt a little: names are copied from there."""
    return [_weighted(answer) for answer in answers]


def _weighted(answer: Answer) -> Encoded:
    ids = [*answer.prompt, *answer.answer]
    return Encoded(ids, [0.1] * len(answer.prompt) + [1.0] * len(answer.answer))


def _endless(job: Job) -> Iterator[Encoded]:
    """Answers in a new order each epoch, fixed by the seed."""
    encoded = _encode(job.train)
    generator = torch.Generator().manual_seed(job.seed)
    while True:
        for index in torch.randperm(len(encoded), generator=generator).tolist():
            yield encoded[index]


METHOD = Method(build, Settings, train=train, reference=True)
