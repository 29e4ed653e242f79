"""Choosing Medusa's tree and draft size on the tune split, by measured decode time."""

from harness.engine.loop import EngineDecoder
from harness.files import write_json
from harness.method import Job
from methods.medusa.drafter import MedusaDrafter
from methods.medusa.heads import load
from methods.medusa.settings import MedusaSettings
from methods.medusa.templates import template
from methods.medusa.training import predictor
from methods.shared.accuracy import measure
from methods.shared.choices import ACCURACY, SETTING, tree_choices, write_accuracies
from methods.shared.trees import replay
from methods.shared.trials import Trial, choose


def tune(job: Job) -> None:
    """Trace, grow, time, choose; writes rank accuracies, trials and the setting."""
    settings: MedusaSettings = job.settings
    target = job.target
    heads = load(job.folder, target.model.lm_head.weight.detach(), target.weights_hash)
    predict = predictor(target, heads.to(target.device), settings.loss)
    traces = measure(predict, job.tune, heads.count, target.device).traces
    write_accuracies(job.folder / ACCURACY, traces, heads.count)
    trees = tree_choices(traces, settings.policies, settings.drafts, heads.count)
    trees += [template(name, heads.count) for name in settings.templates]
    trials = [
        Trial(
            tree.as_setting(),
            EngineDecoder(target, MedusaDrafter(target, heads, tree.build())),
            replay(traces, tree.paths).acceptance_length if tree.paths else None,
        )
        for tree in trees
    ]
    write_json(job.folder / SETTING, choose(job, "medusa", trials, settings.tuning_rounds).setting)
