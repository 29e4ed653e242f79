"""Prompt lookup: the draft is what followed the last tokens when they occurred before.

Source: Saxena 2023, github.com/apoorvumang/prompt-lookup-decoding; transformers has it as
``prompt_lookup_num_tokens``. It needs no parameters and no forward; it drafts only repeated text.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TypeAlias

import numpy as np

from harness.engine import (
    ROOT_ONLY,
    Context,
    Decoder,
    Drafter,
    EngineDecoder,
    Needs,
    Request,
    Target,
    Tree,
    chain,
    collect,
)
from harness.method import Job, Method, Setting
from methods.shared.choices import check_options, check_sizes, read_values
from methods.shared.trials import Sketch, Trial, out_of_time, settle

Array: TypeAlias = np.ndarray
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


def replayed(lookup: Lookup, request: Request, answer: Sequence[int]) -> tuple[Array, Array]:
    """The steps in which ``answer`` would be decoded: tokens of each, the prefill's one first, and
    rows of the forwards after it. Drafts depend on the text alone, so no forward is needed.
    """
    done, counts, rows = 1, [1], []
    while done < len(answer):
        found = lookup.find([*request.prompt_ids, *answer[:done]])
        drafts = found[: request.max_new_tokens - done - 1]
        ahead = answer[done:]
        pairs = enumerate(zip(drafts, ahead, strict=False))  # an answer may end by a stop token
        wrong = (place for place, (draft, token) in pairs if draft != token)
        committed = min(next(wrong, len(drafts)) + 1, len(ahead))
        done += committed
        counts.append(committed)
        rows.append(1 + len(drafts))
    return np.array(counts), np.array(rows, dtype=int)


def answered(job: Job) -> Iterator[tuple[Request, Sequence[int]]]:
    """Requests of the tune split with the target's answers. Greedy answers are those of the job;
    requests without one are left out. Sampled answers are decoded here, once for all trials, since
    every lossless method draws the same tokens.
    """
    known = {pair.prompt: pair.answer for pair in job.tune}
    drafting = EngineDecoder(job.target, PromptLookup(Lookup()))
    for request in job.requests:
        if request.sampling.temperature > 0:
            yield request, collect(drafting, request)[0]
        elif request.prompt_ids in known:
            yield request, known[request.prompt_ids]


def foretell(job: Job, trials: Sequence[Trial]) -> None:
    """Foretell all trials from answers to the tune split, the same for each."""
    if job.forwards is None:
        return
    sketches = [(Sketch(trial, job.forwards), Lookup(**trial.setting)) for trial in trials]
    for request, answer in answered(job):
        for sketch, lookup in sketches:
            sketch.add(len(request.prompt_ids), *replayed(lookup, request, answer))
            sketch.foretell()
        if out_of_time(job):
            break


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
    foretell(job, trials)
    settle(job, "prompt_lookup", trials)


def plain(settings: Settings, folder: Path) -> Setting:
    """The defaults of transformers."""
    return asdict(Lookup())


METHOD = Method(build, Settings, tune=tune, plain=plain, reference=True)
