"""Prompt lookup: the draft is what followed the last tokens when they occurred before.

Source: Saxena 2023, github.com/apoorvumang/prompt-lookup-decoding; transformers has it as
``prompt_lookup_num_tokens``. It needs no parameters and no forward; it drafts only repeated text.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

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
from harness.method import Job, Method, Setting
from methods.shared.choices import check_options, check_sizes, read_values
from methods.shared.trials import Trial, foretell_by_decoding, settle

MATCHES = ("leftmost", "rightmost")


@dataclass(frozen=True, slots=True)
class Lookup:
    """``longest``: tokens of the longest n-gram that is looked up, before shorter ones; ``drafts``:
    the most tokens drafted; ``match``: whether the first or the last occurrence wins. The defaults
    are those of transformers.
    """

    drafts: int = 10
    longest: int = 2
    match: str = "leftmost"

    def find(self, tokens: Sequence[int]) -> list[int]:
        """The tokens after an earlier occurrence of the longest suffix that has one; maybe none."""
        end = len(tokens)
        for size in range(min(self.longest, end - 1), 0, -1):
            suffix = list(tokens[end - size :])
            starts = range(end - size)
            for start in starts if self.match == "leftmost" else reversed(starts):
                if tokens[start] == suffix[0] and list(tokens[start : start + size]) == suffix:
                    return list(tokens[start + size : start + size + self.drafts])
        return []


class PromptLookup(Drafter):
    """Drafts a chain that is copied from the prompt and the answer so far."""

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup
        self.needs = Needs(max_rows=1 + lookup.drafts)

    def draft(self, context: Context) -> Tree:
        # One of the tokens that may still be committed is the bonus token.
        drafts = self._lookup.find(context.tokens)[: max(0, context.cap - 1)]
        if not drafts:
            return Tree(ROOT_ONLY, [context.root])
        return Tree(chain(len(drafts)), [context.root, *drafts])


@dataclass(frozen=True, slots=True)
class Settings:
    """The candidates of the tuning are all combinations of these values."""

    drafts: tuple[int, ...] = (1, 2, 3, 5, 10)
    longest: tuple[int, ...] = (2, 3)
    match: tuple[str, ...] = MATCHES
    tuning_rounds: int = 2

    def __post_init__(self) -> None:
        check_options("prompt_lookup", "match", self.match, MATCHES)
        check_sizes("prompt_lookup", "drafts", self.drafts)
        check_sizes("prompt_lookup", "longest", self.longest)


def build(target: Target, settings: Settings, folder: Path) -> Decoder:
    """The decoder with the lookup that tuning chose."""
    values = read_values(folder, [f.name for f in fields(Lookup)])
    return EngineDecoder(target, PromptLookup(Lookup(**values)))


def tune(job: Job) -> None:
    """Foretell all combinations, time the best on the tune split; write trials and setting."""
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
    settle(job, "prompt_lookup", trials)


def plain(settings: Settings, folder: Path) -> Setting:
    """The defaults of transformers."""
    return asdict(Lookup())


METHOD = Method(build, Settings, tune=tune, plain=plain, reference=True)
