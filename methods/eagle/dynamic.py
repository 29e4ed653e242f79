"""EAGLE-2: the same net, and trees that follow its confidence (Li et al., arXiv 2406.16858).

A node's children are its likeliest tokens, not drawn ones, so it is verified as any other tree.
"""

from dataclasses import dataclass
from pathlib import Path

from harness.engine import Decoder, Target
from harness.method import Job, Method, Setting
from methods.eagle.training import train
from methods.eagle.tuning import decoder, trained_net
from methods.shared.choices import check_sizes, check_tree_settings, read_setting
from methods.shared.tree_tuning import TreeChoice
from methods.shared.trials import Trial, settle

AUTHORS = TreeChoice("dynamic", 59, 8)  # 60 nodes, 7 forwards


@dataclass(frozen=True, slots=True)
class Settings:
    """What tuning tries: trees of ``drafts`` nodes, scored down to each of ``depths``."""

    drafts: tuple[int, ...] = (2, 3, 5, 8)
    depths: tuple[int, ...] = (2, 4)
    tuning_rounds: int = 2

    def __post_init__(self) -> None:
        check_tree_settings("eagle2", self.drafts)
        check_sizes("eagle2", "depths", self.depths)


def build(target: Target, settings: Settings, folder: Path) -> Decoder:
    """EAGLE's trained layer with the size and depth that tuning chose."""
    net = trained_net(target, folder)
    return decoder(target, net, read_setting(folder)[0])


def tune(job: Job) -> None:
    """Time every size and depth, and the authors', on the tune split."""
    settings: Settings = job.settings
    net = trained_net(job.target, job.folder)
    trees = [TreeChoice("dynamic", n, depth) for n in settings.drafts for depth in settings.depths]
    trials = [Trial(t.as_setting(), decoder(job.target, net, t)) for t in (*trees, AUTHORS)]
    trials[-1].default = True
    settle(job, "eagle2", trials)


def plain(settings: Settings, folder: Path) -> Setting:
    """The authors' size and depth."""
    return AUTHORS.as_setting()


METHOD = Method(build, Settings, train=train, tune=tune, plain=plain)
