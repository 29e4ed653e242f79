"""Which arm is faster than which: every pair of arms, and the range of ranks of each arm.

The interval of a pair uses the spread between sessions of that pair alone. Pooling the spread over
all arms of a set would need fewer sessions, but where arms' spreads differ by a factor of four,
such intervals contain the truth too seldom (workflows/resources/ranking.csv); hence ``SESSIONS``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import pandas as pd

from harness.analysis.again import again
from harness.analysis.statistics import LogRatio, Timed, holm, log_ratio, per_question
from harness.experiment.facts import AgainFacts
from harness.experiment.records import AGAIN, BASELINE

SESSIONS = 5  # fewest sessions of a data set that is ranked
LEVEL = 0.05
COLUMNS = "model dataset faster slower ratio ci_low ci_high p_holm tie".split()


@dataclass(frozen=True, slots=True)
class Pair:
    """Two arms of a set, the faster one first.

    ``found``: the log ratio of decode seconds per token, slower over faster. ``p_holm``: its
    p-value against equal speed, Holm-adjusted over all pairs of ranked arms; None for other pairs.
    """

    faster: str
    slower: str
    found: LogRatio
    p_holm: float | None
    tie: bool  # neither is shown to be faster


@dataclass(frozen=True, slots=True)
class Rank:
    """The range of an arm's rank. ``best``: one more than the number of significantly faster arms;
    ``worst``: the number of ranked arms less that of significantly slower ones. Significance is not
    transitive, so a single rank cannot express it.
    """

    best: int
    worst: int


@dataclass(frozen=True, slots=True)
class Order:
    """The comparison of all arms of an experiment.

    ``pairs``: one line per pair of arms of a model and data set. ``again``: the A/A test by model.
    ``ranks``: by (model, data set, arm). ``unranked``: why a ``model/data set`` has no ranks.
    """

    pairs: pd.DataFrame
    again: dict[str, AgainFacts]
    ranks: dict[tuple[str, str, str], Rank]
    unranked: dict[str, str]


def order(summary: pd.DataFrame, rows: pd.DataFrame, ranked: Sequence[str]) -> Order:
    """Compare every two arms that have a speedup, and rank those in ``ranked``.

    ``rows``: those of the models and data sets whose speedups are shown.
    """
    result = Order(pd.DataFrame(columns=COLUMNS), {}, {}, {})
    lines: list[dict[str, object]] = []
    for model, of_model in rows.groupby("model", sort=False):
        cells = {
            str(name): per_question(cell) for name, cell in of_model.groupby("dataset", sort=False)
        }
        test = result.again[str(model)] = again(cells)
        for dataset, cell in cells.items():
            cell_summary = summary[(summary["model"] == model) & (summary["dataset"] == dataset)]
            arms = list(cell_summary.dropna(subset=["speedup"])["method"])
            ranked_arms = [arm for arm in arms if arm in ranked]
            compared = pairs(cell, arms, ranked_arms, _noise(cell))
            lines += pair_lines(str(model), dataset, compared)
            reason = _unranked(test, int(cell_summary["sessions"].max()))
            if reason:
                result.unranked[f"{model}/{dataset}"] = reason
                continue
            for arm, rank in ranks(compared, ranked_arms).items():
                result.ranks[str(model), dataset, arm] = rank
    return Order(pd.DataFrame(lines, columns=COLUMNS), result.again, result.ranks, result.unranked)


def with_ranks(summary: pd.DataFrame, found: Order) -> pd.DataFrame:
    """The summary with columns ``rank_best`` and ``rank_worst``, empty where nothing is ranked."""
    places = zip(summary["model"], summary["dataset"], summary["method"], strict=True)
    ranks_of = [found.ranks.get(place) for place in places]
    return summary.assign(
        rank_best=pd.array([rank and rank.best for rank in ranks_of], dtype="Int64"),
        rank_worst=pd.array([rank and rank.worst for rank in ranks_of], dtype="Int64"),
    )


def _noise(timed: Timed) -> float:
    """How far the two autoregressive arms are apart, as a log ratio; 0 without the second."""
    return abs(log_ratio(timed, BASELINE, AGAIN).estimate) if AGAIN in timed else 0.0


def _unranked(test: AgainFacts, sessions: int) -> str | None:
    """Why a data set has no ranks; None if it has them."""
    if sessions < SESSIONS:
        count = "1 session" if sessions == 1 else f"{sessions} sessions"
        return f"{count}, and ranks need {SESSIONS}"
    if test["passes"] is None:
        return f"A/A: {test['reason']}"
    return None if test["passes"] else f"A/A fails: {test['reason']}"


def pairs(timed: Timed, arms: Sequence[str], ranked: Sequence[str], noise: float) -> list[Pair]:
    """Every pair of ``arms`` of one model and data set.

    ``ranked``: the arms whose pairs are tested together, with a familywise error of 5 %. Any other
    pair is tested by its own 95 % interval. A pair no further apart than ``noise``, the absolute
    log ratio of autoregressive decoding to itself, is a tie in any case; so is one whose sessions
    give no interval.
    """
    ordered = {pair: _faster_first(timed, *pair) for pair in combinations(arms, 2)}
    tested = [pair for pair in ordered if set(pair) <= set(ranked)]
    adjusted = dict(zip(tested, holm([ordered[pair][2].p_value for pair in tested]), strict=True))
    compared = []
    for pair, (faster, slower, ratio) in ordered.items():
        p = adjusted.get(pair)
        apart = (ratio.p_value if p is None else p) < LEVEL and ratio.estimate > noise
        compared.append(Pair(faster, slower, ratio, p, not apart))
    return compared


def _faster_first(timed: Timed, arm: str, other: str) -> tuple[str, str, LogRatio]:
    ratio = log_ratio(timed, arm, other)  # positive where the other needs less time
    if ratio.estimate > 0:
        return other, arm, ratio
    return arm, other, log_ratio(timed, other, arm)


def ranks(found: Sequence[Pair], ranked: Sequence[str]) -> dict[str, Rank]:
    """The range of ranks of every ranked arm, from all pairs of one model and data set."""
    best, worst = dict.fromkeys(ranked, 1), dict.fromkeys(ranked, len(ranked))
    for pair in found:
        if pair.p_holm is not None and not pair.tie:
            best[pair.slower] += 1
            worst[pair.faster] -= 1
    return {arm: Rank(best[arm], worst[arm]) for arm in ranked}


def pair_lines(model: str, dataset: str, found: Sequence[Pair]) -> list[dict[str, object]]:
    """Lines of ``pairs.csv``; ``ratio`` is at least 1, and its 95 % interval is not adjusted."""
    return [
        {
            "model": model,
            "dataset": dataset,
            "faster": pair.faster,
            "slower": pair.slower,
            "ratio": pair.found.interval.ratio,
            "ci_low": pair.found.interval.low,
            "ci_high": pair.found.interval.high,
            "p_holm": pair.p_holm,
            "tie": pair.tie,
        }
        for pair in found
    ]
