"""Choosing Medusa's tree and draft size on the tune split, by measured decode time."""

from collections.abc import Sequence

from harness.engine.loop import EngineDecoder
from harness.files import write_json
from harness.measure.trials import Trial, choose
from harness.method import Job
from methods.medusa.drafter import MedusaDrafter
from methods.medusa.heads import FusedHeads, load
from methods.medusa.settings import MedusaSettings
from methods.medusa.templates import template
from methods.medusa.training import predictor
from methods.shared.accuracy import measure
from methods.shared.choices import (
    ACCURACY,
    SETTING,
    TreeChoice,
    tree_choices,
    write_accuracies,
)
from methods.shared.trees import Trace, replay


def tune(job: Job) -> None:
    """Trace, grow, time, choose; writes rank accuracies, trials and the setting."""
    settings: MedusaSettings = job.settings
    heads, traces = _traced(job)
    write_accuracies(job.folder / ACCURACY, traces, heads.count)
    trees = tree_choices(traces, settings.policies, settings.drafts, heads.count)
    trials = [_trial(job, heads, traces, tree) for tree in trees]
    for name in settings.templates:
        trials.append(_trial(job, heads, traces, template(name, heads.count)))
        trials[-1].default = name == settings.templates[0]
    write_json(job.folder / SETTING, choose(job, "medusa", trials, settings.tuning_rounds).setting)


def sized(job: Job, sizes: Sequence[int]) -> list[Trial]:
    """Calibrated static trees of the given sizes."""
    heads, traces = _traced(job)
    trees = tree_choices(traces, ("static",), sizes, heads.count)
    return [_trial(job, heads, traces, tree) for tree in trees]


def _traced(job: Job) -> tuple[FusedHeads, Sequence[Trace]]:
    """The trained heads, and the ranks that they give the tune answers."""
    target = job.target
    heads = load(job.folder, target.model.lm_head.weight.detach(), target.weights_hash)
    heads = heads.to(target.device)
    predict = predictor(target, heads, job.settings.loss)
    size = job.settings.evaluation_batch
    traces = measure(predict, job.tune, heads.count, target.device, size).traces
    return FusedHeads(heads, target.device, target.dtype), traces


def _trial(job: Job, heads: FusedHeads, traces: Sequence[Trace], tree: TreeChoice) -> Trial:
    return Trial(
        tree.as_setting(),
        EngineDecoder(job.target, MedusaDrafter(job.target, heads, tree.build())),
        replay(traces, tree.paths).acceptance_length if tree.paths else None,
    )
