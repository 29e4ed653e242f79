"""transformers' assisted generation: a small draft model of the same tokenizer, outside our engine.

The draft model is trained here, on the same answers and for the same seconds as the trained parts
of other methods, or is a pretrained one. Source: Leviathan et al. (arXiv 2211.17192);
``generate(assistant_model=...)``.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from harness.decoder import Decoder, Emit, Request
from harness.engine.target import Target
from harness.errors import HarnessError
from harness.files import read_object, replacing_files, write_json
from harness.hub import HUB, named
from harness.method import Answer, Job, Method, Setting
from harness.models import ModelSpec, load_model, weights_hash
from harness.pretrain.packing import Encoded, pack
from harness.pretrain.train import Recipe, Shape, finish, new_target, train_target
from methods.hf.generate import HfGenerate
from methods.shared.choices import read_values
from methods.shared.training import tensor_cores
from methods.shared.trials import Trial, settle

GENERATE_DRAFTS = 20  # generate's own default
MODEL, CONFIG, LOG = "draft-model", "config.json", "training.jsonl"


@dataclass(frozen=True, slots=True)
class Settings:
    """``pretrained``: folder of a draft model, or ``hub:ID@REVISION``; if empty, a model of the
    shape given here is trained.

    ``training_tokens``: positions of a training without a budget; with a budget, its seconds alone
    count. ``drafts``: values of generate's ``num_assistant_tokens`` to time, its default among
    them. ``confidence``: generate's ``assistant_confidence_threshold``, by default 0, since with
    any other value generate adapts the threshold by itself wherever scikit-learn is installed.
    """

    pretrained: str = ""
    layers: int = 1
    width: int = 128
    heads: int = 4
    inner: int = 256
    training_tokens: int = 1_000_000
    rows: int = 20
    drafts: tuple[int, ...] = (2, 3, 5, 8, GENERATE_DRAFTS)
    confidence: float = 0.0
    tuning_rounds: int = 1

    def __post_init__(self) -> None:
        sizes = (self.layers, self.width, self.heads, self.inner, self.rows, *self.drafts)
        if not self.drafts or min(sizes) < 1 or self.width % self.heads:
            raise HarnessError(
                f"methods.hf_assisted: layers, width, heads, inner, rows, *drafts are {sizes}; "
                "expected numbers >= 1, width a multiple of heads"
            )


class HfAssisted(HfGenerate):
    """Assisted generation with ``assistant`` as the draft model."""

    def __init__(self, target: Target, assistant: Any, drafts: int, confidence: float) -> None:
        if assistant is target.model:
            raise HarnessError("hf_assisted: the draft model is the target, expected another")
        super().__init__(target, {"assistant_model": assistant})
        self._assistant, self._drafts, self._confidence = assistant, drafts, confidence

    def decode(self, request: Request, emit: Emit) -> None:
        config = self._assistant.generation_config  # shared by all candidates of a tuning
        config.num_assistant_tokens = self._drafts
        config.assistant_confidence_threshold = self._confidence
        super().decode(request, emit)

    def extra_bytes(self) -> int:
        """The target's cache and the draft model's weights; the draft model's cache is left out."""
        return super().extra_bytes() + sum(p.nbytes for p in self._assistant.parameters())


def build(target: Target, settings: Settings, folder: Path) -> Decoder:
    """Decode by ``generate`` with the draft model and as many drafts as tuning chose."""
    drafts = read_values(folder, ("drafts",))["drafts"]
    assistant = _assistant(target, settings, folder)
    return HfAssisted(target, assistant, drafts, settings.confidence)


def load_assistant(target: Target, folder: Path) -> Any:
    """The draft model that a training wrote to ``folder``, or the pretrained one named there."""
    facts = read_object(folder / CONFIG)
    return _assistant(target, Settings(pretrained=str(facts.get("pretrained", ""))), folder)


def _assistant(target: Target, settings: Settings, folder: Path) -> Any:
    location = settings.pretrained or str(folder / MODEL)
    dtype, device = str(target.dtype).removeprefix("torch."), str(target.device)
    spec = replace(_model_spec(location), dtype=dtype, device=device)
    try:
        assistant = load_model(spec)
    except HarnessError as error:
        raise HarnessError(f"hf_assisted: draft {error}") from error
    _check_known(target, settings, folder)
    vocab = assistant.config.vocab_size
    if vocab != target.config.vocab_size:
        raise HarnessError(
            f"hf_assisted: draft model '{location}' has {vocab} tokens, expected "
            f"{target.config.vocab_size}, the target's"
        )
    return assistant


def _check_known(target: Target, settings: Settings, folder: Path) -> None:
    """Refuse a draft model that was trained for another target, or whose weights have changed."""
    facts = read_object(folder / CONFIG)
    expected = {"weights": _weights(settings, folder)}
    if not settings.pretrained:
        expected["target_hash"] = target.weights_hash
    for key, value in expected.items():
        if facts.get(key) != value:
            raise HarnessError(f"{folder}: hf_assisted {key} is {facts.get(key)}, expected {value}")


def _weights(settings: Settings, folder: Path) -> str:
    return weights_hash(_model_spec(settings.pretrained or str(folder / MODEL)))


def _model_spec(location: str) -> ModelSpec:
    """The model in a folder, or ``hub:ID`` or ``hub:ID@REVISION``."""
    if not location.startswith(HUB):
        return ModelSpec(path=location)
    name, revision = named(location)
    return ModelSpec(hub=name, revision=revision).pinned()


def tune(job: Job) -> None:
    """Time generate with each number of drafts on the tune split; writes trials and the setting."""
    settings: Settings = job.settings
    assistant = _assistant(job.target, settings, job.folder)
    trials = [
        Trial(
            {"drafts": drafts},
            HfAssisted(job.target, assistant, drafts, settings.confidence),
            default=drafts == GENERATE_DRAFTS,
        )
        for drafts in settings.drafts
    ]
    settle(job, "hf_assisted", trials)


def train(job: Job) -> None:
    """Train the draft model on the target's answers to the train split, on the target's device."""
    settings: Settings = job.settings
    job.folder.mkdir(parents=True, exist_ok=True)
    if settings.pretrained:
        record = {"pretrained": settings.pretrained, "weights": _weights(settings, job.folder)}
        write_json(job.folder / CONFIG, record)
        return
    if not job.train or not job.tune:
        raise HarnessError(
            "draft model training: no answers of the target on the train or tune split"
        )
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
    recipe = Recipe(
        job.seed,
        settings.training_tokens,
        settings.rows,
        length,
        seconds=job.seconds,
        best=True,  # end with the best weights, as trainings of other methods do
    )
    device, pad = job.target.device, config.pad_token_id or 0
    model = new_target(shape, config.eos_token_id, config.pad_token_id, job.seed).to(device)
    packed = pack(_endless(job), settings.rows, length, pad)
    held_out = islice(pack(iter(_encode(job.tune)), 1, length, pad), 32)
    with tensor_cores(device):
        loss, seconds = train_target(
            model,
            (batch.to(device) for batch in packed),
            [batch.to(device) for batch in held_out],
            recipe,
            job.folder / LOG,
        )
    with replacing_files(job.folder / MODEL) as temporary:
        model.save_pretrained(temporary)
    facts = {
        "target_hash": job.target.weights_hash,
        "data_hash": job.data_hash,
        "seed": job.seed,
        "training_seconds": round(seconds, 1),
        "trainable_parameters": sum(p.numel() for p in model.parameters()),
        "tune_loss": round(loss, 5),
        "weights": _weights(settings, job.folder),
    }
    write_json(job.folder / CONFIG, facts)
    finish(job.folder / LOG)


def _encode(answers: Any) -> list[Encoded]:
    """Answers with the weights of their tokens in the loss: 1 in the answer, 0.1 in the prompt,
    since answers copy names from there.
    """
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


def plain(settings: Settings, folder: Path) -> Setting:
    """The setting without tuning: generate's default number of drafts."""
    return {"drafts": GENERATE_DRAFTS}


METHOD = Method(build, Settings, train=train, tune=tune, plain=plain, reference=True)
