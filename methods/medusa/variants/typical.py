"""Medusa with typical acceptance: faster, and no longer the target's own text (lossy).

It decodes with Medusa's heads. Its tree is chosen by itself: more drafts pass, so that larger and
deeper trees pay.
"""

from dataclasses import dataclass
from pathlib import Path

from harness.engine import Decoder, EngineDecoder, Target
from harness.errors import HarnessError
from harness.method import Job, Method
from methods.medusa.drafter import MedusaDrafter
from methods.medusa.heads import FusedHeads, fused_heads, load_heads
from methods.medusa.templates import TEMPLATES, template
from methods.medusa.training import predictor, train
from methods.medusa.tuning import drafting_of, plain
from methods.medusa.typical import TypicalAcceptance
from methods.shared.accuracy import measure
from methods.shared.choices import (
    POLICIES,
    check_options,
    check_tree_settings,
    read_setting,
    tree_choices,
)
from methods.shared.tree_tuning import TreeChoice
from methods.shared.trials import Trial, foretell_by_decoding, settle


@dataclass(frozen=True, slots=True)
class Settings:
    """The rule, by default upstream's, and the trees that tuning tries, as those of ``medusa``.

    ``temperature`` shapes the acceptance only; the experiment's ``sampling`` says whether the
    target's own tokens are drawn.
    ``evaluation_batch``: answers whose drafts are ranked at a time.
    """

    temperature: float = 0.7
    threshold: float = 0.09
    alpha: float = 0.3
    drafts: tuple[int, ...] = (3, 5, 8, 16)
    policies: tuple[str, ...] = POLICIES
    templates: tuple[str, ...] = ("generic_63",)
    tuning_rounds: int = 2
    evaluation_batch: int = 16

    def __post_init__(self) -> None:
        check_tree_settings("medusa_typical", self.drafts, self.policies)
        if self.templates:
            check_options("medusa_typical", "templates", self.templates, tuple(TEMPLATES))
        numbers = (self.temperature, self.threshold, self.alpha, self.evaluation_batch)
        if min(numbers) <= 0:
            raise HarnessError(
                f"methods.medusa_typical: temperature, threshold, alpha, evaluation_batch "
                f"{numbers}; expected numbers above 0"
            )


def _decoder(target: Target, heads: FusedHeads, settings: Settings, tree: TreeChoice) -> Decoder:
    accept = TypicalAcceptance(settings.temperature, settings.threshold, settings.alpha)
    return EngineDecoder(target, MedusaDrafter(target, heads, tree.build()), accept)


def build(target: Target, settings: Settings, folder: Path) -> Decoder:
    """Decode with Medusa's heads and the tree that tuning chose."""
    heads = fused_heads(target, folder)
    return _decoder(target, heads, settings, read_setting(folder)[0])


def tune(job: Job) -> None:
    """Time trees on the tune split. Ranks of drafts say which trees to try, not how many pass: that
    is foretold by decoding.
    """
    settings: Settings = job.settings
    heads = load_heads(job.target, job.folder).to(job.target.device)
    predict, device = predictor(job.target, heads, "cross_entropy"), job.target.device
    ranks = measure(predict, job.tune, heads.count, device, settings.evaluation_batch).traces
    trees = [
        *tree_choices(ranks, settings.policies, settings.drafts, heads.count),
        *(template(name, heads.count) for name in settings.templates),
    ]
    fused = FusedHeads(heads, job.target)
    trials = [Trial(t.as_setting(), _decoder(job.target, fused, settings, t)) for t in trees]
    drafting = drafting_of(job.target, fused)
    for trial, tree in zip(trials, trees, strict=True):
        trial.drafting = drafting(tree)
    if settings.templates:  # they stand last, the authors' default first among them
        trials[-len(settings.templates)].default = True
    foretell_by_decoding(job, trials)
    settle(job, "medusa_typical", trials)


METHOD = Method(build, Settings, lossless=False, train=train, tune=tune, plain=plain)
