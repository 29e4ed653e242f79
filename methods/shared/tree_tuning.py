"""Choosing the tree of a method that was trained, by rank traces and by timing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from harness.decoder import Decoder
from harness.method import Job
from methods.shared.accuracy import Predict, measure
from methods.shared.choices import (
    ACCURACY,
    Traced,
    TreeChoice,
    tree_choices,
    write_accuracies,
)
from methods.shared.conditioned import ConfidentTree, DraftTree, FixedTree
from methods.shared.learnt import compare
from methods.shared.trees import RankPath
from methods.shared.trials import Trial, foretell_tree, settle

__all__ = ["Learnt", "TreeChoice", "Trial", "draft_tree", "eagle_tree", "fixed"]

# EAGLE-1's tree of 25 drafts, Chimera's too (SafeAILab/EAGLE, eagle/model/choices.py, Apache-2.0):
# the ranks of each path's tokens, 0 being the best.
EAGLE = "0 1 2 3 00 01 02 10 11 20 21 30 000 001 002 010 011 020 021 100 0000 0001 0002 00000 00001"


@dataclass(frozen=True, slots=True)
class Learnt:
    """A trained method ``name``. ``predict``: logits and losses of its ``steps``, teacher-forced;
    ``decoder_of`` makes its decoder with a tree; ``drafting`` gives the milliseconds of drafting a
    tree, without which no speed is foretold and every tree is timed. It is None for methods whose
    drafts depend on the drafts before them: there drafting takes much of a step.
    """

    name: str
    predict: Predict
    steps: int
    decoder_of: Callable[[TreeChoice], Decoder]
    drafting: Callable[[TreeChoice], float] | None = None

    def tune(self, job: Job, policies: Sequence[str], published: Sequence[TreeChoice] = ()) -> None:
        """Grow trees from rank traces, time them, choose; write accuracies, trials and the setting.
        ``published``: trees that are tried beside them, the authors' default one first.
        """
        traced = self._traced(job, max(job.settings.drafts) if "best_first" in policies else 0)
        write_accuracies(job.folder / ACCURACY, traced.ranks, self.steps)
        trees = tree_choices(traced.ranks, policies, job.settings.drafts, self.steps)
        trials = [self._trial(job, traced, tree) for tree in (*trees, *published)]
        if published:
            trials[len(trees)].default = True
        settle(job, self.name, trials)

    def sized(self, job: Job, sizes: Sequence[int]) -> list[Trial]:
        """Trials of fixed trees of the given sizes, grown from rank traces."""
        traced = self._traced(job)
        trees = tree_choices(traced.ranks, ("static",), sizes, self.steps)
        return [self._trial(job, traced, tree) for tree in trees]

    def examine(self, job: Job, untrained: Predict) -> None:
        """Write learnt.csv; ``untrained`` predicts as the method does before any training, with
        parts of the same shape: tries may have changed that of the settings.
        """
        compare(job, self.predict, untrained, self.steps)

    def _traced(self, job: Job, drafts: int = 0) -> Traced:
        """Rank traces of the tune answers, and of best-first trees of up to ``drafts`` nodes."""
        size, device = job.settings.evaluation_batch, job.target.device
        measured = measure(self.predict, job.tune, self.steps, device, size, drafts)
        return Traced(measured.traces, measured.places)

    def _trial(self, job: Job, traced: Traced, tree: TreeChoice) -> Trial:
        setting, decoder = tree.as_setting(), self.decoder_of(tree)
        trial = Trial(setting, decoder, traced.acceptance_length(tree))
        if self.drafting is not None and job.forwards is not None:
            trial.drafting = self.drafting(tree)
            foretell_tree(job, trial)
        return trial


def draft_tree(choice: TreeChoice, device: torch.device) -> DraftTree:
    """The tree of a choice, on ``device``."""
    if choice.policy == "static":
        return FixedTree(choice.paths, device)
    return ConfidentTree(choice.drafts, choice.depth)


def fixed(paths: Sequence[RankPath]) -> TreeChoice:
    """The choice of a fixed tree with these rank paths."""
    return TreeChoice("static", len(paths), max(map(len, paths), default=0), tuple(paths))


def eagle_tree(depth: int) -> TreeChoice:
    """EAGLE-1's published tree without the nodes below ``depth``."""
    paths = [tuple(map(int, word)) for word in EAGLE.split()]
    return fixed([path for path in paths if len(path) <= depth])
