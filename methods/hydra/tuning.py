"""Choosing Hydra's tree on the tune split, by measured decode time."""

from pathlib import Path
from typing import Any

from harness.engine.loop import EngineDecoder
from harness.files import write_json
from harness.method import Job
from methods.hydra.drafter import HydraDrafter
from methods.hydra.heads import CONFIG, Heads, load
from methods.hydra.settings import HydraSettings
from methods.hydra.training import predictor
from methods.medusa.templates import template
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
from methods.shared.trials import Trial, choose, foretell_tree


def plain(settings: HydraSettings, folder: Path | None) -> dict[str, Any]:
    """A chain of as many drafts as ``folder`` has heads."""
    assert folder is not None
    heads = int(read_values(folder, ("heads",), CONFIG)["heads"])
    paths = tuple((0,) * depth for depth in range(1, heads + 1))
    return TreeChoice("static", heads, heads, paths).as_setting()


def tune(job: Job) -> None:
    """Trace under the true parents, grow, time, choose; writes accuracies, trials, setting."""
    settings: HydraSettings = job.settings
    target = job.target
    heads = load(job.folder, target.model.lm_head.weight.detach(), target.weights_hash)
    heads = heads.to(target.device)
    predict = predictor(target, heads, settings.loss)
    size = settings.evaluation_batch
    traces = measure(predict, job.tune, heads.count, target.device, size).traces
    write_accuracies(job.folder / ACCURACY, traces, heads.count)
    traced = Traced(traces, [])
    trees = tree_choices(traces, ("static",), settings.drafts, heads.count)
    trials = [_trial(job, heads, traced, tree) for tree in trees]
    for name in settings.templates:
        trials.append(_trial(job, heads, traced, template(name, heads.count)))
        trials[-1].default = name == settings.templates[0]
    write_json(job.folder / SETTING, choose(job, "hydra", trials, settings.tuning_rounds).setting)


def _trial(job: Job, heads: Heads, traced: Traced, tree: TreeChoice) -> Trial:
    decoder = EngineDecoder(job.target, HydraDrafter(job.target, heads, tree.paths))
    trial = Trial(tree.as_setting(), decoder, traced.acceptance_length(tree))
    foretell_tree(job, trial)
    return trial
