"""A small draft model in our own engine: it drafts a chain, the target verifies it.

Source: Leviathan et al. (arXiv 2211.17192) and Chen et al. (arXiv 2302.01318). The draft model is
that of ``hf_assisted``: trained on the target's answers, or a pretrained one. There it decodes in
transformers' loop, here in our engine, with an arena of its own that keeps the K/V of accepted
drafts.
"""

from dataclasses import dataclass
from pathlib import Path

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
from harness.method import Job, Method, Setting
from methods.hf.assisted import load_assistant
from methods.hf.assisted import train as train_assistant
from methods.shared.choices import check_sizes, read_values
from methods.shared.trials import Trial, settle

AUTHORS = 5  # drafts: transformers' initial number in what Spec-Bench times


@dataclass(frozen=True, slots=True)
class Settings:
    """``drafts``: chain lengths that tuning tries."""

    drafts: tuple[int, ...] = (1, 2, 3, 4, 5, 8)
    tuning_rounds: int = 1

    def __post_init__(self) -> None:
        check_sizes("draft_model", "drafts", self.drafts)


class ModelDrafter(Drafter):
    """Drafts a chain of ``drafts`` greedy tokens with ``model``, a small model as a second Target.

    The arena of ``model`` keeps the K/V of accepted drafts. At positions that ``model`` was never
    trained on, those beyond its context, it drafts nothing.
    """

    def __init__(self, model: Target, drafts: int) -> None:
        self._model, self._drafts = model, drafts
        self._longest = getattr(model.config, "max_position_embeddings", None)
        self._slots = 0
        self.needs = Needs(max_rows=1 + drafts)

    def extra_bytes(self) -> int:
        """The draft model's weights, packed copies and masks, and its longest request's K/V."""
        weights = sum(parameter.nbytes for parameter in self._model.model.parameters())
        cache = self._model.arena.bytes_per_slot * self._slots
        return weights + cache + self._model.packed_bytes + self._model.mask_bytes

    def begin(self, context: Context) -> None:
        """Run the prompt except its last token through the draft model."""
        slots = len(context.tokens) + context.cap + self._drafts
        self._slots = max(self._slots, slots)
        self._model.begin(slots)
        if self._most(context) > 0:
            self._model.prefill(context.tokens[:-1])

    def _most(self, context: Context) -> int:
        """The most tokens that can be drafted now; the first draft is read at the root."""
        most = min(self._drafts, context.cap - 1)  # one token that may be committed is the bonus
        if self._longest is None:
            return most
        return max(0, min(most, self._longest - len(context.tokens) + 1))

    def draft(self, context: Context) -> Tree:
        most = self._most(context)
        if most == 0:
            return super().draft(context)
        arena, text = self._model.arena, context.tokens
        # K/V of rejected drafts begin in the root's slot: they are dropped. After a step whose
        # drafts were all accepted, those of the last draft are still missing.
        arena.length = min(arena.length, len(text) - 1)
        ids = to_device(text[arena.length :], self._model.device)
        drafted: list[Tensor] = []
        for _ in range(most):
            ids = self._next(ids)
            drafted.append(ids)
        tokens = torch.cat(drafted).tolist()
        return Tree(chain(len(tokens)), [context.root, *tokens])

    def _next(self, ids: Tensor) -> Tensor:
        """[1] the likeliest token after ``ids`` [T], which are run and committed in its arena."""
        model, rows = self._model, len(ids)
        group = RowGroup(0, rows, lambda _: model.embed_batch(ids[None]))
        hidden, _ = model.forward(Block((group,), causal_layout(rows, model.device)))
        model.arena.commit(list(range(rows)))
        return model.logits(hidden[0, -1:]).argmax(-1)


def _draft_model(target: Target, folder: Path) -> Target:
    """The draft model as a second target, whose forwards run as the first one's do."""
    layers = "stock" if target.why_stock == "asked for" else "fused"
    return Target(load_assistant(target, folder), execution=target.execution, layers=layers)


def _decoder(target: Target, model: Target, drafts: int) -> Decoder:
    return EngineDecoder(target, ModelDrafter(model, drafts))


def build(target: Target, settings: Settings, folder: Path) -> Decoder:
    """The decoder with the draft model and the chain length that tuning chose."""
    drafts = read_values(folder, ("drafts",))["drafts"]
    return _decoder(target, _draft_model(target, folder), drafts)


def tune(job: Job) -> None:
    """Time every chain length on the tune split: the time of drafting cannot be foretold."""
    settings: Settings = job.settings
    model = _draft_model(job.target, job.folder)
    trials = [
        Trial({"drafts": drafts}, _decoder(job.target, model, drafts), default=drafts == AUTHORS)
        for drafts in settings.drafts
    ]
    settle(job, "draft_model", trials)


def plain(settings: Settings, folder: Path) -> Setting:
    """The chain length that is usual elsewhere."""
    return {"drafts": AUTHORS}


METHOD = Method(build, Settings, train=train_assistant, tune=tune, plain=plain)
