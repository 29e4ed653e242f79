"""How often drafts are accepted, by depth of the path and by node of the tree, with intervals.

This works for chains, trees and drafts from n-gram pools alike. Intervals are over questions: the
steps of a question are counted over all its sessions, which only repeat it.
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
    """For every arm that drafts: the share of decode steps whose accepted path reaches each depth,
    of all steps and (conditional) of those that reached the depth before it.
    """
    return _per_arm(rows, "depth", _depths)


def by_node(rows: pd.DataFrame) -> pd.DataFrame:
    """For every arm that drafts: how often each node of its tree is accepted, of the steps in which
    it was drafted and (conditional) of those in which its parent was accepted too.

    Node n is the n-th draft token in the method's own order. Its parent is inferred from the
    accepted paths: a node that was never accepted, or whose parent differs between steps (trees
    that change), has no conditional share.
    """
    return _per_arm(rows, "node", _nodes)


def _per_arm(
    rows: pd.DataFrame, column: str, lines: Callable[[pd.DataFrame], list[Line]]
) -> pd.DataFrame:
    table = []
    for keys, arm_rows in rows.groupby(list(KEYS)):
        if not arm_rows["draft_total"].any():
            continue
        labels = dict(zip(KEYS, keys, strict=True))
        table += [{**labels, **line} for line in lines(arm_rows)]
    return pd.DataFrame(table, columns=[*KEYS, column, *_SHARES, "steps"])


def _depths(rows: pd.DataFrame) -> list[Line]:
    steps, reached = _Tally(), _Tally()
    for question, _, path in _decode_steps(rows):
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


def _nodes(rows: pd.DataFrame) -> list[Line]:
    offered, accepted, followed = _Tally(), _Tally(), _Tally()
    parents: dict[int, set[int]] = {}
    for _, _, path in _decode_steps(rows):
        for parent, node in zip([0, *path], path, strict=False):
            parents.setdefault(node, set()).add(parent)
    parent_of = {node: next(iter(seen)) for node, seen in parents.items() if len(seen) == 1}
    for question, drafts, path in _decode_steps(rows):
        accepted_nodes = {0, *path}
        for node in range(1, drafts + 1):
            offered.add(question, node)
            if node in parent_of and parent_of[node] in accepted_nodes:
                followed.add(question, node)
        for node in path:
            accepted.add(question, node)
    return [
        {
            "node": node,
            **_shares(
                accepted.of(node),
                offered.of(node),
                followed.of(node) if node in parent_of else None,
            ),
            "steps": int(offered.of(node).sum()),
        }
        for node in range(1, offered.last + 1)
    ]


def _decode_steps(rows: pd.DataFrame) -> list[tuple[str, int, list[int]]]:
    """(question, draft size, accepted nodes) of every decode step but the last of each answer.

    The first entry of a row is the prefill and no decode step. The last step is cut off by the stop
    token or the cap, so it is unknown how many drafts it would have accepted.
    """
    columns = rows[["question_id", "step_draft_size", "step_path"]]
    return [
        (question, drafts, path)
        for question, sizes, paths in columns.itertuples(index=False, name=None)
        for drafts, path in zip(sizes[1:-1], paths[1:-1], strict=True)
    ]


class _Tally:
    """Counts by number (a depth or a node) and by question."""

    def __init__(self) -> None:
        self._counts: defaultdict[int, Counter[str]] = defaultdict(Counter)

    def add(self, question: str, number: int) -> None:
        self._counts[number][question] += 1

    def of(self, number: int) -> pd.Series:
        """The counts of ``number`` by question; questions without any are left out."""
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


def _share(part: pd.Series, whole: pd.Series) -> Interval:
    """``part`` over ``whole``, counts by question, with its interval clipped to [0, 1]."""
    interval = question_ratio(part.reindex(whole.index).fillna(0.0), whole)
    low, high = np.clip([interval.low, interval.high], 0.0, 1.0)
    return Interval(interval.ratio, float(low), float(high))
