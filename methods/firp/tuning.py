"""Choosing FIRP's tree, draft size and pass on the tune split, by measured decode time."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.engine import EngineDecoder, Target
from harness.files import write_json
from harness.method import Job
from methods.firp.drafter import FirpDrafter
from methods.firp.projections import CONFIG, Projections, load
from methods.firp.settings import FirpSettings
from methods.firp.streams import Streams
from methods.shared.accuracy import measure
from methods.shared.choices import (
    ACCURACY,
    SETTING,
    Traced,
    TreeChoice,
    read_setting,
    read_values,
    tree_choices,
    write_accuracies,
)
from methods.shared.trials import Trial, choose, foretell_tree

# No setting is published. The plainest: as many drafts as steps, a fixed tree, one pass.
PLAIN = {"policy": "static", "passes": "combined"}


def decoder(target: Target, maps: Projections, tree: TreeChoice, passes: str) -> EngineDecoder:
    """FIRP with given weights, tree and pass."""
    return EngineDecoder(target, FirpDrafter(target, maps, tree.build(), passes))


def load_decoder(target: Target, maps: Projections, folder: Path) -> EngineDecoder:
    """FIRP with the tree and pass that tuning chose."""
    tree, beside = read_setting(folder, ("passes",))
    return decoder(target, maps, tree, beside["passes"])


def plain(settings: FirpSettings, folder: Path | None) -> dict[str, Any]:
    """A best-first tree of as many drafts as the weights in ``folder`` have steps, in one pass."""
    assert folder is not None
    steps = len(read_values(folder, ("layout",), CONFIG)["layout"]["entry_layers"])
    return TreeChoice("best_first", steps, steps).as_setting() | {"passes": "combined"}


def tune(job: Job) -> None:
    """Trace, grow, time, choose; writes rank accuracies, trials and the setting."""
    settings: FirpSettings = job.settings
    maps, traced = _traced(job, max(settings.drafts))
    steps = maps.layout.steps
    write_accuracies(job.folder / ACCURACY, traced.ranks, steps)
    trees = tree_choices(traced.ranks, settings.policies, settings.drafts, steps)
    trials = [
        _trial(job, maps, traced, tree, passes) for tree in trees for passes in settings.passes
    ]
    for trial in trials:
        trial.default = trial.setting == {**trial.setting, **PLAIN, "drafts": steps}
    best = choose(job, "firp", trials, settings.tuning_rounds).setting
    write_json(job.folder / SETTING, best)


def sized(job: Job, sizes: Sequence[int]) -> list[Trial]:
    """Calibrated static trees of the given sizes, in every pass of the settings."""
    maps, traced = _traced(job, 0)
    trees = tree_choices(traced.ranks, ("static",), sizes, maps.layout.steps)
    return [
        _trial(job, maps, traced, tree, passes) for tree in trees for passes in job.settings.passes
    ]


def _traced(job: Job, drafts: int) -> tuple[Projections, Traced]:
    """The trained projections, and what they say of the tune answers."""
    maps = load(job.folder, job.target.hidden_size, job.target.weights_hash)
    maps = maps.to(job.target.device)
    predict = Streams(job.target, maps).predict
    steps = maps.layout.steps
    size = job.settings.evaluation_batch
    found = measure(predict, job.tune, steps, job.target.device, size, drafts)
    return maps, Traced(found.traces, found.places)


def _trial(job: Job, maps: Projections, traced: Traced, tree: TreeChoice, passes: str) -> Trial:
    setting = tree.as_setting() | {"passes": passes}
    way = decoder(job.target, maps, tree, passes)
    trial = Trial(setting, way, traced.acceptance_length(tree))
    foretell_tree(job, trial, passes, maps.layout.entry_layers)
    return trial
