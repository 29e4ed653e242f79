"""Choosing Hydra's tree on the tune split, by measured decode time."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from harness.engine import Decoder, EngineDecoder, Target
from harness.method import Job, Setting
from methods.hydra.drafter import HeadProducts, HydraDrafter
from methods.hydra.heads import load
from methods.hydra.settings import HydraSettings
from methods.hydra.training import learner, predictor
from methods.medusa.templates import template
from methods.shared.choices import CONFIG, read_setting, read_values
from methods.shared.tree_tuning import Learnt, TreeChoice, Trial, draft_tree, fixed


def decoder(target: Target, heads: HeadProducts, tree: TreeChoice) -> Decoder:
    """Hydra with a given tree."""
    return EngineDecoder(target, HydraDrafter(target, heads, draft_tree(tree, target.device)))


def build(target: Target, settings: HydraSettings, folder: Path) -> Decoder:
    """Trained heads with the tree that tuning chose."""
    return decoder(target, HeadProducts(load(folder, target), target), read_setting(folder)[0])


def plain(settings: HydraSettings, folder: Path) -> Setting:
    """A chain of as many drafts as ``folder`` has heads."""
    heads = int(read_values(folder, ("heads",), CONFIG)["heads"])
    return fixed([(0,) * depth for depth in range(1, heads + 1)]).as_setting()


def tune(job: Job) -> None:
    """Time trees of the settings' policies and the authors', and write the fastest."""
    settings: HydraSettings = job.settings
    learnt = _learnt(job)
    published = [template(settings.template, learnt.steps)] if settings.template else []
    learnt.tune(job, settings.policies, published)


def sized(job: Job, sizes: Sequence[int]) -> list[Trial]:
    """Trials of fixed trees of the given sizes, grown from rank traces."""
    return _learnt(job).sized(job, sizes)


def examine(job: Job) -> None:
    """What training gave, in learnt.csv."""
    heads = load(job.folder, job.target)
    shape = {"heads": heads.count, "layers": heads.layers, "prefix": heads.prefix is not None}
    start = learner(replace(job, settings=replace(job.settings, **shape))).module
    _learnt(job).examine(job, predictor(job.target, start, job.settings.loss))


def _learnt(job: Job) -> Learnt:
    settings: HydraSettings = job.settings
    heads = load(job.folder, job.target)
    decoder_of = partial(decoder, job.target, HeadProducts(heads, job.target))
    predict = predictor(job.target, heads, settings.loss)
    return Learnt("hydra", predict, heads.count, decoder_of)
