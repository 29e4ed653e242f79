"""The setting that each arm decoded with, in a few words: above all, its draft tree."""

from collections.abc import Callable, Iterator

from harness.analysis.preparation import Prepared, Written
from harness.experiment.folder import CONFIG, SETTING

# Methods that decode with another one's parts, but with a fixed tree of their own.
_FIXED = {
    "medusa_template": "a published tree of Medusa's",
    "medusa_cartesian": "the package's kind of tree, all combinations",
    "medusa_llm": "the package's tree, all combinations",
}
PASSES = {"combined": "one pass", "two_pass": "two passes"}
_POLICIES = {
    "static": "static tree",
    "best_first": "best-first tree",
    "dynamic": "tree by confidence",
}


def used(prepared: Prepared, model: str, arm: str, of: str) -> str:
    """A few words on the setting of an arm of method ``of``; empty where it has none."""
    if of in _FIXED:
        return _FIXED[of]
    setting = prepared.read(model, arm, SETTING)
    for key, words in _WORDS.items():
        if key in setting:
            return ", ".join([words(setting), *_trained(prepared.read(model, arm, CONFIG))])
    return ""


def _trained(trained: Written) -> Iterator[str]:
    """Remarks on what a training wrote: heads that use the target's vocabulary matrix, not one of
    their own, and how much the training did.
    """
    if trained.get("medusa_head", trained.get("head")) == "shared":
        yield "the target's own head"
    if trained.get("training_steps"):
        yield f"{trained['training_steps']} updates in training"
    if "points" in trained:
        yield f"the best of {trained['points']} points searched"


def _tree(setting: Written) -> str:
    tree = f"{_POLICIES.get(setting['policy'], setting['policy'])}, {setting['drafts']} drafts"
    return f"{tree}, {PASSES[setting['passes']]}" if "passes" in setting else tree


def _lookahead(setting: Written) -> str:
    pool = "pool from the prompt" if setting["from_prompt"] else "pool empty at first"
    return f"W {setting['width']}, N {setting['ngram']}, G {setting['guesses']}, {pool}"


def _skips(setting: Written) -> str:
    return f"{len(setting['skipped'])} sublayers skipped, chain of up to {setting['longest']}"


# How to word a setting, by a key that marks its kind; the first key that it has counts.
_WORDS: dict[str, Callable[[Written], str]] = {
    "policy": _tree,
    "ngram": _lookahead,
    "skipped": _skips,
    "match": lambda setting: f"chain of up to {setting['drafts']}, {setting['match']} match",
    "recycled": lambda setting: f"tree of up to {setting['recycled']} drafts",
    "cache": lambda setting: f"{setting['cache']} cache",
    "drafts": lambda setting: f"chain of {setting['drafts']}",
}
