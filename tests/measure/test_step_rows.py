"""Rows of a step in each layer: FIRP's pseudo rows are not in the layers below their entry."""

import numpy as np

from harness.measure.step_cost import Steps, rows_by_layer

# Four nodes with three pseudo rows each; then one node with as many.
STEPS = Steps(np.array([4, 1]), np.array([16, 4]), np.array([50, 60]))


def test_pseudo_rows_count_from_their_entry_on() -> None:
    found = rows_by_layer(STEPS, [22, 22, 22, 22], 30)
    assert [list(rows) for rows in (found[0], found[21], found[22], found[29])] == [
        *[[4, 1]] * 2,
        *[[16, 4]] * 2,
    ]
    assert np.mean([rows[0] for rows in found]) == 4 * (1 + 3 * 8 / 30)


def test_rows_that_enter_one_after_the_other() -> None:
    found = rows_by_layer(STEPS, [1, 2, 3], 4)
    assert [int(rows[0]) for rows in found] == [4, 8, 12, 16]


def test_without_pseudo_rows_all_run_through_all_layers() -> None:
    assert [list(rows) for rows in rows_by_layer(STEPS, [], 3)] == [[16, 4]] * 3
