"""A small draft model in our own engine: it drafts a chain, the target verifies it.

Source: Leviathan et al. (arXiv 2211.17192) and Chen et al. (arXiv 2302.01318). The draft model is
that of ``hf_assisted``, trained on the target's answers or given; there transformers' loop decodes
with it, here ours, with an arena of its own that keeps what was accepted of its drafts.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harness.engine import (
    Block,
    Context,
    Decoder,
    Drafter,
    EngineDecoder,
    Needs,
    RowGroup,
    Target,
    Tree,
    causal_layout,
    chain,
    to_device,
)
from harness.errors import HarnessError
from harness.files import write_json
from harness.method import Job, Method
from methods.hf.assisted import load_assistant
from methods.hf.assisted import train as train_assistant
from methods.shared.choices import SETTING, read_values
from methods.shared.trials import Trial, choose

AUTHORS = 5  # drafts: of what Spec-Bench times, transformers' first guess


@dataclass(frozen=True, slots=True)
class Settings:
    """``drafts``: lengths of the chain that tuning tries."""

    drafts: tuple[int, ...] = (1, 2, 3, 4, 5, 8)
    tuning_rounds: int = 1

    def __post_init__(self) -> None:
        if not self.drafts or min(self.drafts) < 1:
            raise HarnessError(
                f"methods.draft_model.drafts: {list(self.drafts)}, expected lengths >= 1"
            )


class ModelDrafter(Drafter):
    """Drafts a chain of ``drafts`` greedy tokens of ``model``, a second engine over a small model.

    Its arena keeps the K/V of drafts that were accepted.
    """

    def __init__(self, model: Target, drafts: int) -> None:
        self._model, self._drafts = model, drafts
        self._slots = 0
        self.needs = Needs(max_rows=1 + drafts)

    def extra_bytes(self) -> int:
        """The model, and its cache at the longest request."""
        held = sum(parameter.nbytes for parameter in self._model.model.parameters())
        cache = self._model.arena.bytes_per_slot * self._slots
        return held + cache + self._model.packed_bytes + self._model.mask_bytes

    def begin(self, context: Context) -> None:
        """Run the prompt but its last token."""
        slots = len(context.tokens) + context.cap + self._drafts
        self._slots = max(self._slots, slots)
        self._model.begin(slots)
        self._model.prefill(context.tokens[:-1])

    def draft(self, context: Context) -> Tree:
        arena, text = self._model.arena, context.tokens
        # What it ran of rejected drafts stands where the root is, or behind. After a step whose
        # drafts were all accepted it lacks the last of them.
        arena.length = min(arena.length, len(text) - 1)
        ids = to_device(text[arena.length :], self._model.device)
        # The bonus token takes one of those that may still be committed.
        most = min(self._drafts, context.cap - 1)
        drafted: list[Tensor] = []
        while len(drafted) < most:
            ids = self._next(ids)
            drafted.append(ids)
        tokens = torch.cat(drafted).tolist() if drafted else []
        return Tree(chain(len(tokens)), [context.root, *tokens])

    def _next(self, ids: Tensor) -> Tensor:
        """[1] the likeliest token after ``ids`` [T], which are run behind what the arena holds."""
        model, rows = self._model, len(ids)
        group = RowGroup(0, rows, lambda _: model.embed_batch(ids[None]))
        hidden, _ = model.forward(Block((group,), causal_layout(rows, model.device)))
        model.arena.commit(list(range(rows)))
        return model.logits(hidden[0, -1:]).argmax(-1)


def _decoder(target: Target, model: Target, drafts: int) -> Decoder:
    return EngineDecoder(target, ModelDrafter(model, drafts))


def build(target: Target, settings: Settings, folder: Path | None) -> Decoder:
    """The draft model, with as many drafts as tuning chose."""
    if folder is None:
        raise HarnessError("draft_model: no draft model; expected the folder of its training")
    drafts = read_values(folder, ("drafts",))["drafts"]
    return _decoder(target, Target(load_assistant(target, folder)), drafts)


def tune(job: Job) -> None:
    """Time every length of the chain on the tune split: what drafting takes cannot be foretold."""
    settings: Settings = job.settings
    model = Target(load_assistant(job.target, job.folder))
    trials = [
        Trial({"drafts": drafts}, _decoder(job.target, model, drafts), default=drafts == AUTHORS)
        for drafts in settings.drafts
    ]
    best = choose(job, "draft_model", trials, settings.tuning_rounds)
    write_json(job.folder / SETTING, best.setting)


def plain(settings: Settings, folder: Path | None) -> dict[str, Any]:
    """As many drafts as are usual."""
    return {"drafts": AUTHORS}


METHOD = Method(build, Settings, train=train_assistant, tune=tune, plain=plain)
