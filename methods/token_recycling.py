"""Token Recycling: drafts are tokens that the target once nearly chose after the same token.

Source: Luo et al. (arXiv 2408.08696) and the code of its authors in Spec-Bench. A table holds, for
each token, the eight likeliest tokens after it when it was last verified, rejected drafts included;
a fixed tree of 80 nodes is filled from it. There is no training. The table outlives answers, as
the authors' does: it grows from prompt to prompt, so what an arm drafts depends on what it answered
before. Nodes for which the table holds nothing yet are left out, where the authors draft token 0.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from torch import Tensor

from harness.engine import (
    Context,
    Decoder,
    Drafter,
    EngineDecoder,
    Needs,
    Outcome,
    StepRecord,
    Target,
    Tree,
    TreeShape,
    Verified,
)
from harness.errors import HarnessError
from harness.files import write_json
from harness.method import Job, Method
from methods.shared.choices import SETTING, read_values
from methods.shared.trees import RankPath
from methods.shared.trials import Trial, choose, foretell_by_decoding

LIKELIEST = 8  # tokens held for each token
RUNS = 4  # of answers whose lessons are held until it is known which of them counts
# Rank paths of the authors' tree "2.2.2" (Spec-Bench, commit 6d56ad2, model/recycling), a digit a
# rank; a level a line.
_TEMPLATE = """
0 1 2 3 4 5 6 7
00 01 02 03 04 05 06 07 10 11 12 13 20 21 22 30 31 40 50 60 70
000 001 002 003 004 005 006 007 010 011 012 020 021 030 040 050 060 070 100 101 110 200 300 400 500
0000 0001 0002 0003 0004 0010 0011 0020 0030 0040 0100 0200 1000 2000 3000
00000 00001 00002 00010 00020 00100 01000 10000
000000 000001 000100
"""
TEMPLATE: tuple[RankPath, ...] = tuple(tuple(map(int, word)) for word in _TEMPLATE.split())


@lru_cache
def likeliest(drafts: int) -> tuple[RankPath, ...]:
    """The ``drafts`` nodes of the template with the smallest sums of ranks, each counted from 1, in
    the template's order: the likeliest, were every rank half as likely as the one before.
    """
    order = sorted(TEMPLATE, key=lambda path: (sum(path) + len(path), len(path), path))
    chosen = set(order[:drafts])
    return tuple(path for path in TEMPLATE if path in chosen)


@dataclass(slots=True)
class _Lessons:
    """What the steps of one answer taught, and the tokens that they committed."""

    rows: dict[int, list[int]] = field(default_factory=dict)
    tokens: list[int] = field(default_factory=list)


class Recycler(Drafter):
    """Fills the tree of rank ``paths`` from the table, and the table from every verified node.

    Of nodes with the same token the deepest accepted one counts, else the last.
    """

    learns_from_logits = True

    def __init__(self, paths: Sequence[RankPath]) -> None:
        self._paths = tuple(paths)
        self._carried: dict[int, list[int]] = {}
        self._lessons = _Lessons()
        self._earlier: deque[_Lessons] = deque(maxlen=RUNS)
        self.needs = Needs(max_rows=1 + len(self._paths))

    def extra_bytes(self) -> int:
        """The table, at eight bytes a token held."""
        return 8 * (1 + LIKELIEST) * len(self._carried.keys() | self._lessons.rows.keys())

    def begin(self, context: Context) -> None:
        self._earlier.append(self._lessons)
        self._lessons = _Lessons()

    def after(self, token: int) -> list[int]:
        """The tokens held for ``token``, the likeliest first; none before it was verified."""
        return self._lessons.rows.get(token) or self._carried.get(token, [])

    def draft(self, context: Context) -> Tree:
        places: dict[RankPath, int] = {(): 0}
        parents, tokens = [-1], [context.root]
        for path in self._paths:
            parent = places.get(path[:-1])
            if parent is None:
                continue
            held = self.after(tokens[parent])
            if path[-1] < len(held):
                places[path] = len(tokens)
                parents.append(parent)
                tokens.append(held[path[-1]])
        return Tree(TreeShape(tuple(parents)), tokens)

    def wanted(self, tree: Tree, verified: Verified) -> Tensor:
        """[N, 8] the likeliest tokens after each node."""
        return verified.logits.topk(min(LIKELIEST, verified.logits.shape[-1])).indices

    def observe(self, context: Context, outcome: Outcome) -> None:
        tokens = outcome.tree.tokens
        width = len(outcome.read) // len(tokens)
        for node in (*range(len(tokens)), *outcome.path):
            likely = outcome.read[node * width : (node + 1) * width]
            self._lessons.rows[tokens[node]] = [int(token) for token in likely]
        self._lessons.tokens += outcome.tokens

    def remember(self, records: Sequence[StepRecord]) -> None:
        """Keep the lessons of that very answer, of the last few that were given."""
        # an answer's last step is followed by no draft, and teaches nothing
        tokens = [token for record in records[:-1] for token in record.tokens]
        for lessons in (self._lessons, *reversed(self._earlier)):
            if lessons.tokens == tokens:
                self._carried |= lessons.rows
                return


@dataclass(frozen=True, slots=True)
class Settings:
    """``drafts``: nodes of the tree that tuning tries, all 80 of them the authors'."""

    drafts: tuple[int, ...] = (4, 8, 16, 32, len(TEMPLATE))
    tuning_rounds: int = 1

    def __post_init__(self) -> None:
        if not self.drafts or min(self.drafts) < 1 or max(self.drafts) > len(TEMPLATE):
            raise HarnessError(
                f"methods.token_recycling.drafts: {list(self.drafts)}, expected numbers from 1 to "
                f"{len(TEMPLATE)}"
            )


def _decoder(target: Target, drafts: int) -> EngineDecoder:
    return EngineDecoder(target, Recycler(likeliest(drafts)))


def build(target: Target, settings: Settings, folder: Path | None) -> Decoder:
    """An empty table, and the tree that tuning chose."""
    if folder is None:
        raise HarnessError("token_recycling: not tuned; expected the folder of its tuning")
    return _decoder(target, int(read_values(folder, ("recycled",))["recycled"]))


def tune(job: Job) -> None:
    """Foretell every size of the tree, time the best on the tune split."""
    settings: Settings = job.settings
    trials = [
        Trial({"recycled": drafts}, _decoder(job.target, drafts), default=drafts == len(TEMPLATE))
        for drafts in settings.drafts
    ]
    foretell_by_decoding(job, trials)
    best = choose(job, "token_recycling", trials, settings.tuning_rounds)
    write_json(job.folder / SETTING, best.setting)


def plain(settings: Settings, folder: Path | None) -> dict[str, Any]:
    """The authors' tree."""
    return {"recycled": len(TEMPLATE)}


METHOD = Method(build, Settings, tune=tune, plain=plain)
