"""Who is told apart, what ranks they get, and when nobody is ranked."""

import math

import numpy as np
import pandas as pd
import pytest

from harness.analysis.again import again
from harness.analysis.ranking import Rank, order, pairs, ranks, with_ranks
from harness.analysis.ranking_study import WORLDS, study
from harness.analysis.statistics import LogRatio, per_question
from harness.experiment.records import AGAIN, BASELINE
from tests.analysis.test_statistics import rows


def _ranks(factors: dict[str, float], noise: float = 0.0) -> dict[str, Rank]:
    arms = list(factors)
    return ranks(pairs(per_question(rows(factors)), arms, arms, noise), arms)


def test_a_rank_counts_the_significantly_faster_and_slower() -> None:
    found = _ranks({"a": 1.0, "b": 2.0, "c": 2.0001, "d": 3.0})
    assert found == {"d": Rank(1, 1), "b": Rank(2, 3), "c": Rank(2, 3), "a": Rank(4, 4)}


def test_ties_are_not_transitive(monkeypatch: pytest.MonkeyPatch) -> None:
    """b is told apart from neither neighbour, a and c are from each other."""
    speed = {"a": 0.0, "b": 0.02, "c": 0.04}

    def ratio(_: object, slower: str, faster: str) -> LogRatio:
        return LogRatio(speed[faster] - speed[slower], 0.006, 0.009, 5, 40)

    monkeypatch.setattr("harness.analysis.ranking.log_ratio", ratio)
    found = ranks(pairs({}, list(speed), list(speed), 0.0), list(speed))
    assert found == {"c": Rank(1, 2), "b": Rank(1, 3), "a": Rank(2, 3)}


def test_what_is_no_further_apart_than_the_same_arm_twice_is_a_tie() -> None:
    factors = {"a": 1.0, "b": 1.05}
    assert _ranks(factors) == {"b": Rank(1, 1), "a": Rank(2, 2)}, "control"
    assert _ranks(factors, noise=0.06) == {"b": Rank(1, 2), "a": Rank(1, 2)}


def test_pairs_of_yardsticks_are_told_apart_by_their_own_interval() -> None:
    timed = per_question(rows({"a": 1.0, "b": 1.5, "hf": 0.7}))
    found = {(p.faster, p.slower): p for p in pairs(timed, ["a", "b", "hf"], ["a", "b"], 0.0)}
    assert set(found) == {("b", "a"), ("a", "hf"), ("b", "hf")}
    assert found["b", "a"].p_holm is not None
    assert found["a", "hf"].p_holm is None
    assert not found["a", "hf"].tie
    assert found["b", "hf"].found.interval.ratio == pytest.approx(1.5 / 0.7, rel=0.02)


def _experiment(sessions: int, favoured: float = 0.0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(summary, rows) of two data sets; ``favoured`` by which the second of A/A is faster."""
    factors = {BASELINE: 1.0, AGAIN: math.exp(favoured), "x": 2.0, "y": 1.5}
    made = [rows(factors, sessions).assign(model="m", dataset=name) for name in ("gsm8k", "xsum")]
    table = pd.concat(made, ignore_index=True)
    lines = table.groupby(["model", "dataset", "arm"], as_index=False)["session"].nunique()
    summary = lines.rename(columns={"arm": "method", "session": "sessions"}).assign(speedup=1.0)
    return summary, table


def test_an_experiment_is_ranked_on_every_set() -> None:
    summary, table = _experiment(sessions=5)
    found = order(summary, table, ["x", "y"])
    assert found.again["m"]["passes"]
    assert found.unranked == {}
    ranked = with_ranks(summary, found).set_index(["dataset", "method"])
    for dataset in ("gsm8k", "xsum"):
        assert list(ranked.loc[dataset].loc["x", ["rank_best", "rank_worst"]]) == [1, 1]
        assert list(ranked.loc[dataset].loc["y", ["rank_best", "rank_worst"]]) == [2, 2]
    assert ranked["rank_best"].isna().sum() == 4, "the baseline and its twin are not ranked"
    assert len(found.pairs) == 2 * 6
    assert (found.pairs["ratio"] >= 1).all()


def test_a_favoured_place_leaves_all_unranked() -> None:
    summary, table = _experiment(sessions=5, favoured=0.03)
    found = order(summary, table, ["x", "y"])
    assert found.again["m"]["passes"] is False
    assert set(found.unranked) == {"m/gsm8k", "m/xsum"}
    assert "A/A fails" in found.unranked["m/gsm8k"]
    assert with_ranks(summary, found)["rank_best"].isna().all()


@pytest.mark.parametrize(
    ("sessions", "said"), [(1, "1 session"), (4, "4 sessions, and ranks need 5")]
)
def test_fewer_than_five_sessions_rank_nothing(sessions: int, said: str) -> None:
    found = order(*_experiment(sessions), ["x", "y"])
    assert all(said in reason for reason in found.unranked.values())
    assert len(found.unranked) == 2


def test_the_a_a_test_by_hand() -> None:
    """Two sets: sessions' log ratios .01, .03 and -.02, .04, .01."""

    def cell(ratios: list[float]) -> dict[str, np.ndarray]:
        seconds = np.exp(np.array(ratios))[:, None] * np.ones((1, 2))
        whole = {BASELINE: seconds, AGAIN: np.ones_like(seconds)}
        return {arm: np.stack([s, np.full_like(s, 10.0)]) for arm, s in whole.items()}

    cells = {"one": cell([0.01, 0.03]), "two": cell([-0.02, 0.04, 0.01])}
    found = again(cells)
    assert found["ratio"] == pytest.approx(math.exp((0.02 + 0.01) / 2))
    # variance about the means: (2 * .01^2 + .03^2 + .03^2) / 3; of the mean, times (1/2 + 1/3) / 4
    error = math.sqrt(0.002 / 3 * (1 / 2 + 1 / 3) / 4)
    assert 0.015 / error == pytest.approx(1.2728, rel=1e-3)
    assert found["p_value"] == pytest.approx(0.2928, abs=2e-4)  # two-sided, t with 3 degrees
    assert (found["passes"], found["sessions"]) == (True, 5)
    ended = {arm: np.array([[[2e-5]], [[0.0]]]) for arm in (BASELINE, AGAIN)}
    assert again({**cells, "answers of one token": ended}) == found
    alone = again({"one": cell([0.01])})
    assert (alone["passes"], alone["p_value"]) == (None, None)
    none = again({"none": {BASELINE: np.ones((2, 1, 1))}})
    assert none["reason"] == "no data set has such a pair"


COMMITTED = pd.read_csv("workflows/resources/ranking.csv")


def test_ranks_mean_what_they_say_wherever_it_was_tried() -> None:
    assert len(COMMITTED) == len(WORLDS)
    assert (COMMITTED["repeats"] >= 1000).all()
    ranked = COMMITTED[COMMITTED["sessions"] >= 5]
    # 5 %, and what 1000 draws may show of 5 % by chance
    assert ranked["equal_in_an_order"].max() <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 1000)
    assert ranked["apart_in_order"].min() >= 0.9
    assert ranked["coverage_unequal"].min() >= 0.93


def test_a_pooled_spread_would_not_and_three_sessions_do_not() -> None:
    """The controls: why the rule is what it is."""
    assert COMMITTED["coverage_unequal_pooled"].min() < 0.93
    assert COMMITTED[COMMITTED["sessions"] == 3]["apart_in_order"].min() < 0.9


@pytest.mark.parametrize("place", [0, -1])
def test_the_committed_study_is_what_the_simulation_gives(place: int) -> None:
    kept = COMMITTED.iloc[place]
    found = study(WORLDS[place], 60)
    error = 4 * math.sqrt(0.25 / 60)  # four standard errors of a share
    for name in ("apart_in_order", "coverage_unequal"):
        assert found[name] == pytest.approx(kept[name], abs=error)
