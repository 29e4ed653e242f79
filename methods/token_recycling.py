"""Token Recycling: drafts are tokens that the target once found likely after the same token.

Source: Luo et al. (arXiv 2408.08696) and the code of its authors in Spec-Bench. For each token a
table holds the eight likeliest tokens after it when it was last verified, as a rejected draft too;
a fixed tree of 80 nodes is filled from the table. There is no training. As in the authors' code the
table is kept from prompt to prompt, so what an arm drafts depends on what it answered before. Nodes
for which the table holds nothing yet are left out, where the authors draft token 0.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

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
from harness.method import Job, Method, Setting
from methods.shared.choices import check_sizes, read_values
from methods.shared.trees import RankPath
from methods.shared.trials import Trial, foretell_by_decoding, settle

LIKELIEST = 8  # tokens in the table for each token
RUNS = 4  # earlier decodes that are kept until ``remember`` tells which of them counts
# Rank paths of the authors' tree "2.2.2" (Spec-Bench, commit 6d56ad2, model/recycling): a digit is
# a rank, a line holds the paths of one depth.
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
    """The ``drafts`` nodes of the template whose ranks, counted from 1, have the smallest sums, in
    the template's order: the likeliest ones, if every rank were half as likely as the one before.
    """
    order = sorted(TEMPLATE, key=lambda path: (sum(path) + len(path), len(path), path))
    chosen = set(order[:drafts])
    return tuple(path for path in TEMPLATE if path in chosen)


@dataclass(slots=True)
class _Lessons:
    """What one answer's steps taught, as token -> likeliest next ones, and what they committed."""

    rows: dict[int, list[int]] = field(default_factory=dict)
    tokens: list[int] = field(default_factory=list)


class Recycler(Drafter):
    """Fills the tree of rank ``paths`` from the table, and the table from every verified node.

    If several nodes of a step carry the same token, the deepest accepted one counts, else the last.
    """

    learns_from_logits = True

    def __init__(self, paths: Sequence[RankPath]) -> None:
        self._paths = tuple(paths)
        self._carried: dict[int, list[int]] = {}
        self._lessons = _Lessons()
        self._earlier: deque[_Lessons] = deque(maxlen=RUNS)
        self.needs = Needs(max_rows=1 + len(self._paths))

    def extra_bytes(self) -> int:
        """The table's size, at eight bytes per token in it."""
        return 8 * (1 + LIKELIEST) * len(self._carried.keys() | self._lessons.rows.keys())

    def begin(self, context: Context) -> None:
        self._earlier.append(self._lessons)
        self._lessons = _Lessons()

    def after(self, token: int) -> list[int]:
        """The likeliest tokens after ``token``, the best first; none before it was verified."""
        return self._lessons.rows.get(token) or self._carried.get(token, [])

    def draft(self, context: Context) -> Tree:
        places: dict[RankPath, int] = {(): 0}
        parents, tokens = [-1], [context.root]
        for path in self._paths:
            parent = places.get(path[:-1])
            if parent is None:
                continue
            successors = self.after(tokens[parent])
            if path[-1] < len(successors):
                places[path] = len(tokens)
                parents.append(parent)
                tokens.append(successors[path[-1]])
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
        """Put what this answer taught into the table, if it is one of the last few answers."""
        # the last step of an answer is not observed, since no draft follows it
        tokens = [token for record in records[:-1] for token in record.tokens]
        for lessons in (self._lessons, *reversed(self._earlier)):
            if lessons.tokens == tokens:
                self._carried |= lessons.rows
                return


@dataclass(frozen=True, slots=True)
class Settings:
    """``drafts``: tree sizes that tuning tries; the authors' tree has all 80 nodes."""

    drafts: tuple[int, ...] = (1, 2, 4, 8, 16, 32, len(TEMPLATE))
    tuning_rounds: int = 1

    def __post_init__(self) -> None:
        check_sizes("token_recycling", "drafts", self.drafts, len(TEMPLATE))


def _decoder(target: Target, drafts: int) -> EngineDecoder:
    return EngineDecoder(target, Recycler(likeliest(drafts)))


def build(target: Target, settings: Settings, folder: Path) -> Decoder:
    """The decoder with an empty table and the tree size that tuning chose."""
    return _decoder(target, int(read_values(folder, ("recycled",))["recycled"]))


def tune(job: Job) -> None:
    """Foretell the speed of every tree size, and time the best on the tune split."""
    settings: Settings = job.settings
    trials = [
        Trial({"recycled": drafts}, _decoder(job.target, drafts), default=drafts == len(TEMPLATE))
        for drafts in settings.drafts
    ]
    foretell_by_decoding(job, trials)
    settle(job, "token_recycling", trials)


def plain(settings: Settings, folder: Path) -> Setting:
    """The authors' tree."""
    return {"recycled": len(TEMPLATE)}


METHOD = Method(build, Settings, tune=tune, plain=plain)
