"""Choosing FIRP's tree, draft size and pass on the tune split, by measured decode time."""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch

from harness.engine import EngineDecoder, Target
from harness.method import Job, Setting
from methods.firp.drafter import FirpDrafter, MapProducts
from methods.firp.parents import ParentsDrafter, Tables, tables
from methods.firp.projections import Projections, load
from methods.firp.settings import FirpSettings
from methods.firp.streams import Streams
from methods.shared.accuracy import measure
from methods.shared.choices import (
    ACCURACY,
    CONFIG,
    Traced,
    TreeChoice,
    read_setting,
    read_values,
    tree_choices,
    write_accuracies,
)
from methods.shared.tree_tuning import draft_tree
from methods.shared.trials import Trial, foretell_tree, milliseconds, settle

# No setting is published. The trial marked as default is the plainest: one pass, and the fixed tree
# grown with as many drafts as there are steps.
PLAIN = {"policy": "static", "passes": "combined"}


def decoder(
    maps: MapProducts, tree: TreeChoice, passes: str, shared: Tables | None = None
) -> EngineDecoder:
    """FIRP with given weights, tree and pass; with parents the pass is always the combined one.

    ``shared``: the parents' tables, where several decoders have them in common.
    """
    target = maps.target
    if maps.parents is not None:
        conditioned = draft_tree(tree, target.device)
        return EngineDecoder(target, ParentsDrafter(maps, conditioned, shared))
    return EngineDecoder(target, FirpDrafter(maps, tree.build(), passes))


def load_decoder(target: Target, folder: Path) -> EngineDecoder:
    """FIRP with the trained projections in ``folder``, and the tree and pass that tuning chose."""
    projections = load(folder, target.hidden_size, target.weights_hash)
    tree, values = read_setting(folder, ("passes",))
    return decoder(MapProducts(projections, target), tree, values["passes"])


def plain(settings: FirpSettings, folder: Path) -> Setting:
    """The setting without tuning: one pass, and a tree of the likeliest drafts, as many as the
    weights in ``folder`` have steps.
    """
    layout = read_values(folder, ("layout",), CONFIG)["layout"]
    steps = len(layout["entry_layers"])
    policy: Any = "dynamic" if layout.get("parents") else "best_first"
    return TreeChoice(policy, steps, steps).as_setting() | {"passes": "combined"}


def tune(job: Job) -> None:
    """Trace ranks, grow trees, time and choose; writes rank accuracies, trials and the setting."""
    settings: FirpSettings = job.settings
    maps, traced = _traced(job, max(settings.drafts))
    steps = maps.layout.steps
    write_accuracies(job.folder / ACCURACY, traced.ranks, steps)
    policies = settings.policies
    if maps.parents is not None:
        # A node's children depend on its token, so the likeliest are found by following nodes.
        policies = tuple("dynamic" if policy == "best_first" else policy for policy in policies)
    trees = tree_choices(traced.ranks, policies, settings.drafts, steps)
    trials = _trials(job, maps, traced, trees)
    for trial in trials:
        trial.default = trial.setting == {**trial.setting, **PLAIN, "drafts": steps}
    settle(job, "firp", trials)


def sized(job: Job, sizes: Sequence[int]) -> list[Trial]:
    """Static trees of the given sizes, grown from rank traces, in every pass of the settings."""
    maps, traced = _traced(job, 0)
    trees = tree_choices(traced.ranks, ("static",), sizes, maps.layout.steps)
    return _trials(job, maps, traced, trees)


def _trials(
    job: Job, maps: Projections, traced: Traced, trees: Sequence[TreeChoice]
) -> list[Trial]:
    """Every tree in every pass of the settings, or in the combined pass alone where drafts depend
    on their parents: there drafting takes much of a step, so that it is timed, not foretold.
    """
    products = MapProducts(maps, job.target)
    shared = None if maps.parents is None else tables(maps.parents, job.target)
    drafting = _drafting_of(job.target)
    trials = []
    for tree in trees:
        for passes in job.settings.passes if shared is None else ("combined",):
            setting = tree.as_setting() | {"passes": passes}
            candidate = decoder(products, tree, passes, shared)
            trials.append(Trial(setting, candidate, traced.acceptance_length(tree)))
            if shared is None and job.forwards is not None:
                trials[-1].drafting = drafting(min(tree.depth, maps.layout.steps))
                foretell_tree(job, trials[-1], passes, maps.layout.entry_layers)
    return trials


def _drafting_of(target: Target) -> Callable[[int], float]:
    """A function that gives the milliseconds of reading the drafts of so many steps: a product of
    their pseudo states with the vocabulary.
    """

    @cache
    def of_steps(steps: int) -> float:
        states = torch.zeros(steps, target.hidden_size, dtype=target.dtype, device=target.device)
        return milliseconds(lambda: target.logits(states), target.device)

    return of_steps


def _traced(job: Job, drafts: int) -> tuple[Projections, Traced]:
    """The trained projections, and the rank traces of their drafts on the tune answers."""
    maps = load(job.folder, job.target.hidden_size, job.target.weights_hash)
    maps = maps.to(job.target.device)
    predict = Streams(job.target, maps).predict
    steps = maps.layout.steps
    size = job.settings.evaluation_batch
    measured = measure(predict, job.tune, steps, job.target.device, size, drafts)
    return maps, Traced(measured.traces, measured.places)
