"""How often drafts are accepted: by depth of the path and by node of the tree, with intervals.

Any drafter's steps will do, be they chains, trees or matches of a pool. Intervals are over
questions, the unit that everything here is counted in; sessions only repeat them.
"""

from collections import Counter, defaultdict
from collections.abc import Callable

import numpy as np
import pandas as pd

from harness.analysis.statistics import Interval, question_ratio

KEYS = ("model", "dataset", "arm")
_SHARES = [
    f"{kind}{end}" for kind in ("unconditional", "conditional") for end in ("", "_low", "_high")
]

Line = dict[str, float]


def by_depth(rows: pd.DataFrame) -> pd.DataFrame:
    """Per arm that drafts: share of decode steps whose accepted path reaches each depth, and of
    those that reached the depth before it (conditional).
    """
    return _per_arm(rows, "depth", _depths)


def by_node(rows: pd.DataFrame) -> pd.DataFrame:
    """Per arm that drafts: how often each node of its tree is accepted when it is there, and when
    its parent was accepted (conditional).

    Node n is the n-th draft token in the order of the method. The parent is read off the accepted
    paths: where a node follows different ones (trees that change), or was never accepted, nothing
    conditional can be told.
    """
    return _per_arm(rows, "node", _nodes)


def _per_arm(
    rows: pd.DataFrame, what: str, lines: Callable[[pd.DataFrame], list[Line]]
) -> pd.DataFrame:
    found = []
    for keys, mine in rows[rows["draft_total"] > 0].groupby(list(KEYS)):
        named = dict(zip(KEYS, keys, strict=True))
        found += [{**named, **line} for line in lines(mine)]
    return pd.DataFrame(found, columns=[*KEYS, what, *_SHARES, "steps"])


def _depths(mine: pd.DataFrame) -> list[Line]:
    steps, reached = _Tally(), _Tally()
    for question, _, path in _decode_steps(mine):
        steps.add(question, 0)
        for depth in range(1, len(path) + 1):
            reached.add(question, depth)
    before = steps.of(0)
    lines = []
    for depth in range(1, reached.last + 1):
        now = reached.of(depth)
        shares = _shares(now, steps.of(0), before)
        lines.append({"depth": depth, **shares, "steps": int(steps.of(0).sum())})
        before = now
    return lines


def _nodes(mine: pd.DataFrame) -> list[Line]:
    offered, accepted, followed = _Tally(), _Tally(), _Tally()
    parents: dict[int, set[int]] = {}
    for _, _, path in _decode_steps(mine):
        for parent, node in zip([0, *path], path, strict=False):
            parents.setdefault(node, set()).add(parent)
    certain = {node: next(iter(found)) for node, found in parents.items() if len(found) == 1}
    for question, drafts, path in _decode_steps(mine):
        taken = {0, *path}
        for node in range(1, drafts + 1):
            offered.add(question, node)
            if node in certain and certain[node] in taken:
                followed.add(question, node)
        for node in path:
            accepted.add(question, node)
    return [
        {
            "node": node,
            **_shares(
                accepted.of(node),
                offered.of(node),
                followed.of(node) if node in certain else None,
            ),
            "steps": int(offered.of(node).sum()),
        }
        for node in range(1, offered.last + 1)
    ]


def _decode_steps(mine: pd.DataFrame) -> list[tuple[str, int, list[int]]]:
    """(question, draft size, accepted nodes) of every step between an answer's first and last.

    The first is the prefill's. The last is cut off by the stop or cap rule: what it would have
    accepted beyond is not known.
    """
    columns = mine[["question_id", "step_draft_size", "step_path"]]
    return [
        (question, drafts, path)
        for question, sizes, paths in columns.itertuples(index=False, name=None)
        for drafts, path in zip(sizes[1:-1], paths[1:-1], strict=True)
    ]


class _Tally:
    """Counts per question of something numbered."""

    def __init__(self) -> None:
        self._counts: defaultdict[int, Counter[str]] = defaultdict(Counter)

    def add(self, question: str, number: int) -> None:
        self._counts[number][question] += 1

    def of(self, number: int) -> pd.Series:
        """By question; without those that have none."""
        return pd.Series(self._counts.get(number, {}), dtype=float)

    @property
    def last(self) -> int:
        return max(self._counts, default=0)


def _shares(now: pd.Series, every: pd.Series, before: pd.Series | None) -> dict[str, float]:
    unconditional = _share(now, every)
    conditional = _share(now, before) if before is not None else Interval.unknown()
    return dict(
        zip(
            _SHARES,
            (
                *(unconditional.ratio, unconditional.low, unconditional.high),
                *(conditional.ratio, conditional.low, conditional.high),
            ),
            strict=True,
        )
    )


def _share(some: pd.Series, of: pd.Series) -> Interval:
    """A share of the questions' counts; its bounds stay within 0 and 1."""
    found = question_ratio(some.reindex(of.index).fillna(0.0), of)
    low, high = np.clip([found.low, found.high], 0.0, 1.0)
    return Interval(found.ratio, float(low), float(high))
