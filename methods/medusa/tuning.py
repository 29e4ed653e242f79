"""Choosing Medusa's tree and draft size on the tune split, by measured decode time."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import torch

from harness.engine import EngineDecoder, Target
from harness.method import Job, Setting
from methods.medusa.drafter import MedusaDrafter
from methods.medusa.heads import CONFIG, FusedHeads, Heads, load_heads
from methods.medusa.settings import MedusaSettings
from methods.medusa.templates import template
from methods.medusa.training import learner, predictor
from methods.shared.choices import read_values
from methods.shared.tree_tuning import Learnt, TreeChoice, Trial
from methods.shared.trials import milliseconds


def plain(settings: MedusaSettings, folder: Path) -> Setting:
    """The setting without tuning: a best-first tree of as many drafts as ``folder`` has heads."""
    heads = int(read_values(folder, ("medusa_num_heads",), CONFIG)["medusa_num_heads"])
    return TreeChoice("best_first", heads, heads).as_setting()


def tune(job: Job) -> None:
    """Trace ranks, grow trees, time and choose; writes rank accuracies, trials and the setting."""
    settings, heads = job.settings, _trained(job)
    published = [template(name, heads.count) for name in settings.templates]
    _learnt(job, heads).tune(job, settings.policies, published)


def sized(job: Job, sizes: Sequence[int]) -> list[Trial]:
    """Static trees of the given sizes, grown from rank traces."""
    return _learnt(job, _trained(job)).sized(job, sizes)


def examine(job: Job) -> None:
    """What training gave, in learnt.csv."""
    heads = _trained(job)
    # As many and as deep as those that were trained: tries may have changed that.
    shape = {"heads": heads.count, "layers": heads.layers}
    start = learner(replace(job, settings=replace(job.settings, **shape))).module
    _learnt(job, heads).examine(job, predictor(job.target, start, job.settings.loss))


def _trained(job: Job) -> Heads:
    return load_heads(job.target, job.folder).to(job.target.device)


def _learnt(job: Job, heads: Heads) -> Learnt:
    target, fused = job.target, FusedHeads(heads, job.target)

    def decoder(tree: TreeChoice) -> EngineDecoder:
        return EngineDecoder(target, MedusaDrafter(target, fused, tree.build()))

    predict = predictor(target, heads, job.settings.loss)
    return Learnt("medusa", predict, heads.count, decoder, drafting_of(target, fused))


def drafting_of(target: Target, heads: FusedHeads) -> Callable[[TreeChoice], float]:
    """A function that gives the milliseconds of drafting a tree: it needs as many heads as it is
    deep, and one with a vocabulary matrix of its own may cost as much as several layers.
    """

    @cache
    def of_depth(depth: int) -> float:
        return _milliseconds(target, heads.first(depth))

    return lambda tree: of_depth(tree.depth)


def _milliseconds(target: Target, heads: FusedHeads) -> float:
    """The time of running ``heads`` on the state of one token."""
    state = torch.zeros(1, target.hidden_size, dtype=target.dtype, device=target.device)
    return milliseconds(lambda: heads(state), target.device)
