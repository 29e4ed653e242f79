"""Which nodes of a tree are accepted."""

import pytest
import torch

from harness.engine.tree import Tree, TreeShape, exact, root_only

#      0
#    1   2
#   3 4   5
#         6
SHAPE = TreeShape((-1, 0, 0, 1, 1, 2, 5))


def accepted(tokens: list[int], chosen: list[int]) -> list[int]:
    tree = Tree(SHAPE, tokens)
    return tree.path(int(exact(tree, torch.empty(7, 0), torch.tensor(chosen))))


@pytest.mark.parametrize(
    ("chosen", "path"),
    [
        ([9, 9, 9, 9, 9, 9, 9], [0]),
        ([11, 9, 9, 9, 9, 9, 9], [0, 1]),
        ([11, 14, 15, 9, 9, 16, 9], [0, 1, 4]),
        ([12, 13, 15, 9, 9, 16, 9], [0, 2, 5, 6]),
        ([12, 13, 9, 9, 9, 16, 9], [0, 2]),
        ([9, 13, 15, 9, 9, 16, 9], [0]),
    ],
)
def test_drafts_pass_that_were_chosen_themselves(chosen: list[int], path: list[int]) -> None:
    assert accepted([10, 11, 12, 13, 14, 15, 16], chosen) == path


def test_of_equal_siblings_the_one_that_leads_on_is_gone_to() -> None:
    tokens = [10, 11, 11, 13, 14, 15, 16]
    assert accepted(tokens, [11, 9, 15, 9, 9, 16, 9]) == [0, 2, 5, 6]
    assert accepted(tokens, [11, 13, 15, 9, 9, 9, 9]) == [0, 1, 3], "the first of equally deep ones"


def test_the_root_s_own_token_is_of_no_account() -> None:
    assert accepted([10, 11, 12, 13, 14, 15, 16], [10, 9, 9, 9, 9, 9, 9]) == [0]


def test_no_draft_is_accepted_by_the_rule_of_width() -> None:
    tree = Tree(SHAPE, [10, 11, 12, 13, 14, 15, 16])
    chosen = torch.tensor([11, 13, 9, 9, 9, 9, 9])
    assert int(root_only(tree, torch.empty(7, 0), chosen)) == 0
    assert int(exact(tree, torch.empty(7, 0), chosen)) == 3, "control"
