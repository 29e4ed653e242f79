"""Choosing EAGLE-1's fixed tree on the tune split, by measured decode time."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from harness.engine import Decoder, EngineDecoder, Target
from harness.method import Job, Setting
from methods.eagle.drafter import EagleDrafter
from methods.eagle.net import NetDecoder, load
from methods.eagle.settings import EagleSettings
from methods.eagle.training import Predictor, learner
from methods.shared.choices import read_setting
from methods.shared.tree_tuning import Learnt, TreeChoice, Trial, draft_tree, eagle_tree


def trained_net(target: Target, folder: Path) -> NetDecoder:
    """The net that a training wrote to ``folder``, as decoding uses it."""
    return NetDecoder(target, load(target, folder))


def decoder(target: Target, net: NetDecoder, tree: TreeChoice) -> Decoder:
    """EAGLE with a given tree."""
    return EngineDecoder(target, EagleDrafter(target, net, draft_tree(tree, target.device)))


def build(target: Target, settings: EagleSettings, folder: Path) -> Decoder:
    """The trained layer with the fixed tree that tuning chose."""
    net = trained_net(target, folder)
    return decoder(target, net, read_setting(folder)[0])


def plain(settings: EagleSettings, folder: Path) -> Setting:
    """The authors' tree."""
    return eagle_tree(settings.depth).as_setting()


def tune(job: Job) -> None:
    """Time fixed trees, the authors' among them, and write the fastest."""
    settings: EagleSettings = job.settings
    _learnt(job).tune(job, ("static",), [eagle_tree(settings.depth)])


def sized(job: Job, sizes: Sequence[int]) -> list[Trial]:
    """Trials of fixed trees of the given sizes, grown from rank traces."""
    return _learnt(job).sized(job, sizes)


def examine(job: Job) -> None:
    """What training gave, in learnt.csv."""
    _learnt(job).examine(job, Predictor(job.target, learner(job).module, job.settings))


def _learnt(job: Job) -> Learnt:
    settings: EagleSettings = job.settings
    net = load(job.target, job.folder)
    decoder_of = partial(decoder, job.target, NetDecoder(job.target, net))
    return Learnt("eagle", Predictor(job.target, net, settings), settings.depth, decoder_of)
