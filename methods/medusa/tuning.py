"""Choosing Medusa's tree and draft size on the tune split, by measured decode time."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from harness.engine import EngineDecoder
from harness.files import write_json
from harness.method import Job, Setting
from methods.medusa.drafter import MedusaDrafter
from methods.medusa.heads import CONFIG, FusedHeads, Heads, load
from methods.medusa.settings import MedusaSettings
from methods.medusa.templates import template
from methods.medusa.training import learner, predictor
from methods.shared.accuracy import measure
from methods.shared.choices import (
    ACCURACY,
    SETTING,
    Traced,
    TreeChoice,
    read_values,
    tree_choices,
    write_accuracies,
)
from methods.shared.learnt import compare
from methods.shared.trials import Trial, choose, foretell_tree


def plain(settings: MedusaSettings, folder: Path | None) -> Setting:
    """The setting without tuning: a best-first tree of as many drafts as ``folder`` has heads."""
    assert folder is not None
    heads = int(read_values(folder, ("medusa_num_heads",), CONFIG)["medusa_num_heads"])
    return TreeChoice("best_first", heads, heads).as_setting()


def tune(job: Job) -> None:
    """Trace ranks, grow trees, time and choose; writes rank accuracies, trials and the setting."""
    settings: MedusaSettings = job.settings
    heads, traced = _traced(job, max(settings.drafts))
    write_accuracies(job.folder / ACCURACY, traced.ranks, heads.count)
    trees = tree_choices(traced.ranks, settings.policies, settings.drafts, heads.count)
    trials = [_trial(job, heads, traced, tree) for tree in trees]
    for name in settings.templates:
        trials.append(_trial(job, heads, traced, template(name, heads.count)))
        trials[-1].default = name == settings.templates[0]
    write_json(job.folder / SETTING, choose(job, "medusa", trials, settings.tuning_rounds).setting)


def sized(job: Job, sizes: Sequence[int]) -> list[Trial]:
    """Static trees of the given sizes, grown from rank traces."""
    heads, traced = _traced(job, 0)
    trees = tree_choices(traced.ranks, ("static",), sizes, heads.count)
    return [_trial(job, heads, traced, tree) for tree in trees]


def examine(job: Job) -> None:
    """What training gave, in learnt.csv."""
    heads = _trained(job)
    # As many and as deep as those that were trained: tries may have changed that.
    shape = {"heads": heads.count, "layers": heads.layers}
    start = learner(replace(job, settings=replace(job.settings, **shape))).module
    trained, untrained = (predictor(job.target, h, job.settings.loss) for h in (heads, start))
    compare(job, trained, untrained, heads.count)


def _trained(job: Job) -> Heads:
    target = job.target
    heads = load(job.folder, target.model.lm_head.weight.detach(), target.weights_hash)
    return heads.to(target.device)


def _traced(job: Job, drafts: int) -> tuple[FusedHeads, Traced]:
    """The trained heads, and the rank traces of their drafts on the tune answers."""
    target, heads = job.target, _trained(job)
    predict = predictor(target, heads, job.settings.loss)
    size = job.settings.evaluation_batch
    measured = measure(predict, job.tune, heads.count, target.device, size, drafts)
    return FusedHeads(heads, target), Traced(measured.traces, measured.places)


def _trial(job: Job, heads: FusedHeads, traced: Traced, tree: TreeChoice) -> Trial:
    decoder = EngineDecoder(job.target, MedusaDrafter(job.target, heads, tree.build()))
    trial = Trial(tree.as_setting(), decoder, traced.acceptance_length(tree))
    foretell_tree(job, trial)
    return trial
