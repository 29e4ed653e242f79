"""Prompt lookup: the draft is what followed the last tokens when they occurred before.

Source: Saxena 2023, github.com/apoorvumang/prompt-lookup-decoding; transformers has it as
``prompt_lookup_num_tokens``. No parameters, no forward: only text that repeats is drafted.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from harness.engine import (
    ROOT_ONLY,
    Context,
    Decoder,
    Drafter,
    EngineDecoder,
    Needs,
    Target,
    Tree,
    chain,
)
from harness.errors import HarnessError
from harness.files import write_json
from harness.method import Job, Method
from methods.shared.choices import SETTING, check_options, read_values
from methods.shared.trials import Trial, choose, foretell_by_decoding

MATCHES = ("leftmost", "rightmost")


@dataclass(frozen=True, slots=True)
class Lookup:
    """``longest``: tokens of the longest n-gram looked up, then shorter ones; ``drafts``: tokens
    drafted at most; ``match``: the first or the last occurrence wins. The defaults are those of
    transformers.
    """

    drafts: int = 10
    longest: int = 2
    match: str = "leftmost"

    def find(self, tokens: Sequence[int]) -> list[int]:
        """What followed the longest suffix of ``tokens`` that occurred before; may be empty."""
        end = len(tokens)
        for size in range(min(self.longest, end - 1), 0, -1):
            suffix = list(tokens[end - size :])
            starts = range(end - size)
            for start in starts if self.match == "leftmost" else reversed(starts):
                if tokens[start] == suffix[0] and list(tokens[start : start + size]) == suffix:
                    return list(tokens[start + size : start + size + self.drafts])
        return []


class PromptLookup(Drafter):
    """A chain of what the prompt and the answer say so far."""

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup
        self.needs = Needs(max_rows=1 + lookup.drafts)

    def draft(self, context: Context) -> Tree:
        # The bonus token takes one of those that may still be committed.
        found = self._lookup.find(context.tokens)[: max(0, context.cap - 1)]
        if not found:
            return Tree(ROOT_ONLY, [context.root])
        return Tree(chain(len(found)), [context.root, *found])


@dataclass(frozen=True, slots=True)
class Settings:
    """Candidates of the tuning: every combination of them."""

    drafts: tuple[int, ...] = (2, 3, 5, 10)
    longest: tuple[int, ...] = (2, 3)
    match: tuple[str, ...] = MATCHES
    tuning_rounds: int = 2

    def __post_init__(self) -> None:
        check_options("prompt_lookup", "match", self.match, MATCHES)
        for name, values in (("drafts", self.drafts), ("longest", self.longest)):
            if not values or min(values) < 1:
                raise HarnessError(
                    f"methods.prompt_lookup.{name}: {list(values)}, expected numbers >= 1"
                )


def build(target: Target, settings: Settings, folder: Path | None) -> Decoder:
    """The lookup that tuning chose."""
    if folder is None:
        raise HarnessError("prompt_lookup: not tuned; expected the folder of its tuning")
    found = read_values(folder, [f.name for f in fields(Lookup)])
    return EngineDecoder(target, PromptLookup(Lookup(**found)))


def tune(job: Job) -> None:
    """Foretell every combination, time the best on the tune split; writes trials and setting."""
    settings: Settings = job.settings
    trials = []
    for drafts in settings.drafts:
        for longest in settings.longest:
            for match in settings.match:
                lookup = Lookup(drafts, longest, match)
                decoder = EngineDecoder(job.target, PromptLookup(lookup))
                default = lookup == Lookup()
                trials.append(Trial(asdict(lookup), decoder, default=default))
    foretell_by_decoding(job, trials)
    best = choose(job, "prompt_lookup", trials, settings.tuning_rounds)
    write_json(job.folder / SETTING, best.setting)


def plain(settings: Settings, folder: Path | None) -> dict[str, Any]:
    """transformers' own setting."""
    return asdict(Lookup())


METHOD = Method(build, Settings, tune=tune, plain=plain, reference=True)
