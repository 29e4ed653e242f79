"""One buffer holds the masks of all blocks, and layouts in use are not built again."""

import random

import pytest
import torch
from torch import Tensor

from harness.engine import masks
from harness.engine.masks import BlockLayout, BlockMask, recent

CPU = torch.device("cpu")


def test_what_was_longest_unused_goes_first() -> None:
    cache: dict[str, str] = {}
    made: list[str] = []

    def get(key: str) -> str:
        def make() -> str:
            made.append(key)
            return key.upper()

        return recent(cache, key, make, limit=2)

    assert [get(key) for key in "abac"] == ["A", "B", "A", "C"]
    assert made == ["a", "b", "c"], "control: a kept value is not made again"
    assert list(cache) == ["a", "c"], "the older of two goes, though stored later"


def layout(rng: random.Random, rows: int) -> BlockLayout:
    """A random tree, its rows in any order."""
    parents = [-1, *(rng.randrange(node) for node in range(1, rows))]
    visible, positions = torch.eye(rows, dtype=torch.bool), torch.zeros(rows, dtype=torch.int64)
    for node in range(1, rows):
        visible[node] |= visible[parents[node]]
        positions[node] = positions[parents[node]] + 1
    order = torch.tensor(rng.sample(range(rows), rows))
    return BlockLayout(visible[order][:, order], positions[order], CPU)


def expected(block: BlockLayout, committed: int, window: int | None, span: int) -> Tensor:
    """Entry by entry: who sees the token in each slot."""
    mask = torch.full((len(block), span), -torch.inf)
    for row, position in enumerate(block.positions.tolist()):
        for slot in range(min(span, committed + len(block))):
            inside = slot - committed
            stands = slot if inside < 0 else committed + int(block.positions[inside])
            seen = inside < 0 or bool(block.visible[row, inside])
            near = window is None or committed + position - stands < window
            mask[row, slot] = 0.0 if seen and near else -torch.inf
    return mask


@pytest.mark.parametrize("phases", [1, 8])
@pytest.mark.parametrize("window", [None, 3, 12, 500])
def test_views_are_the_masks_of_whatever_came_before(
    window: int | None, phases: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(masks, "_phases", lambda device: phases)
    rng = random.Random(7)
    mask = BlockMask((32, 64, 16), window, torch.float32, CPU)
    for _ in range(60):
        block, committed = layout(rng, rng.randint(1, 32)), rng.randint(0, 64)
        mask.show(block)
        rows = rng.randint(1, len(block))
        exact = committed + rows
        for span in (0, exact + rng.randint(len(block) - rows, 16 + len(block) - rows)):
            view = mask.view(committed, rows, span)[0, 0]
            wanted = expected(block, committed, window, span or committed + len(block))
            assert torch.equal(view, wanted[:rows, : span or exact])
            assert phases == 1 or view.storage_offset() % phases == 0


def test_a_block_that_is_shown_is_not_written_again(monkeypatch: pytest.MonkeyPatch) -> None:
    block = layout(random.Random(1), 9)
    mask = BlockMask((32, 64, 16), None, torch.float32, CPU)
    mask.show(block)
    monkeypatch.setattr(BlockLayout, "additive", None)
    mask.show(block)
    with pytest.raises(TypeError):
        mask.show(layout(random.Random(2), 9))
