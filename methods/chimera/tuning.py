"""Choosing Chimera's tree on the tune split, by measured decode time."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from harness.engine import Decoder, EngineDecoder, Target
from harness.method import Job, Setting
from methods.chimera.drafter import ChimeraDrafter
from methods.chimera.net import NetDecoder, load
from methods.chimera.settings import ChimeraSettings
from methods.chimera.training import learner, predictor
from methods.shared.choices import CONFIG, read_setting, read_values
from methods.shared.tree_tuning import Learnt, TreeChoice, Trial, draft_tree, eagle_tree


def decoder(target: Target, net: NetDecoder, tree: TreeChoice) -> Decoder:
    """Chimera with a given tree."""
    return EngineDecoder(target, ChimeraDrafter(target, net, draft_tree(tree, target.device)))


def build(target: Target, settings: ChimeraSettings, folder: Path) -> Decoder:
    """The trained net with the tree that tuning chose."""
    return decoder(target, NetDecoder(target, load(folder, target)), read_setting(folder)[0])


def plain(settings: ChimeraSettings, folder: Path) -> Setting:
    """EAGLE-1's tree, which the authors use, as deep as ``folder`` has heads."""
    return eagle_tree(int(read_values(folder, ("heads",), CONFIG)["heads"])).as_setting()


def tune(job: Job) -> None:
    """Time trees of the settings' policies and EAGLE-1's, and write the fastest."""
    settings: ChimeraSettings = job.settings
    learnt = _learnt(job)
    learnt.tune(job, settings.policies, [eagle_tree(learnt.steps)])


def sized(job: Job, sizes: Sequence[int]) -> list[Trial]:
    """Trials of fixed trees of the given sizes, grown from rank traces."""
    return _learnt(job).sized(job, sizes)


def examine(job: Job) -> None:
    """What training gave, in learnt.csv."""
    settings = replace(job.settings, heads=load(job.folder, job.target).count)
    start = learner(replace(job, settings=settings)).module
    _learnt(job).examine(job, predictor(job.target, start, settings))


def _learnt(job: Job) -> Learnt:
    settings: ChimeraSettings = job.settings
    net = load(job.folder, job.target)
    decoder_of = partial(decoder, job.target, NetDecoder(job.target, net))
    predict = predictor(job.target, net, settings)
    return Learnt("chimera", predict, net.count, decoder_of)
