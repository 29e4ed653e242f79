"""Acceptance by depth and by node, counted by hand; intervals over questions."""

import pandas as pd
import pytest

from harness.analysis.acceptance import by_depth, by_node


def _rows(paths: dict[str, list[list[int]]], drafts: int = 3, arm: str = "arm") -> pd.DataFrame:
    """A row per question; every decode step verifies ``drafts`` drafts."""
    return pd.DataFrame(
        [
            {
                "model": "m",
                "dataset": "d",
                "arm": arm,
                "question_id": question,
                # the last step, cut off by the end of the answer, tells nothing
                "step_draft_size": [0, *[drafts] * len(steps), drafts],
                "step_path": [[], *steps, [1]],
                "draft_total": drafts * len(steps),
            }
            for question, steps in paths.items()
        ]
    )


# A tree of two first drafts (1 and 2) and one that follows node 1 (3).
TREE = {"a": [[1, 3], [2], [], [1]], "b": [[1], [1, 3], [2], []]}


def test_depths() -> None:
    table = by_depth(_rows(TREE)).set_index("depth")
    assert list(table["unconditional"]) == [6 / 8, 2 / 8]
    assert list(table["conditional"]) == [6 / 8, 2 / 6]
    assert set(table["steps"]) == {8}


def test_nodes() -> None:
    table = by_node(_rows(TREE)).set_index("node")
    assert list(table["unconditional"]) == [4 / 8, 2 / 8, 2 / 8]
    assert list(table["conditional"]) == [4 / 8, 2 / 8, 2 / 4]


def test_a_node_that_follows_different_ones_has_no_conditional_share() -> None:
    table = by_node(_rows({"a": [[1, 3], [2, 3]], "b": [[1], []]})).set_index("node")
    assert table.loc[3, "unconditional"] == 0.5
    assert table["conditional"].isna().to_list() == [False, False, True]


def test_a_node_that_is_not_drafted_counts_for_no_step() -> None:
    both = pd.concat([_rows({"a": [[1], [1]]}, drafts=1), _rows({"b": [[1, 2], [1]]}, drafts=2)])
    table = by_node(both).set_index("node")
    assert table.loc[2, "steps"] == 2
    assert table.loc[2, "unconditional"] == 0.5


def test_intervals_are_those_of_questions_not_of_steps() -> None:
    alike = {name: [[1], []] * 10 for name in "abcd"}
    apart = {name: [[1] if name in "ab" else []] * 20 for name in "abcd"}
    narrow, wide = (by_node(_rows(paths, drafts=1)).iloc[0] for paths in (alike, apart))
    assert narrow["unconditional"] == wide["unconditional"] == 0.5
    assert narrow["unconditional_low"] == narrow["unconditional_high"] == 0.5
    assert (wide["unconditional_low"], wide["unconditional_high"]) == (0, 1)


def test_one_question_gives_no_interval() -> None:
    line = by_node(_rows({"a": [[1], []]}, drafts=1)).iloc[0]
    assert line["unconditional"] == pytest.approx(0.5)
    assert pd.isna(line["unconditional_low"])


def test_an_arm_that_drafts_nothing_is_left_out() -> None:
    assert by_depth(_rows({"a": [[], []]}, drafts=0)).empty
