"""Checking tree attention: what is right passes, what leaks from branch to branch does not."""

import json
from pathlib import Path

import pandas as pd
import pytest
import torch

from harness.__main__ import main
from harness.engine.masks import BlockLayout
from harness.engine.target import Target
from harness.engine.tree import TreeShape
from harness.errors import HarnessError
from harness.measure.tree_check import check_trees, known_trees, random_shape
from tests.models import VOCAB, tiny_model
from tests.toys import BUSHY

PROMPT = [(5 * i + 2) % VOCAB for i in range(11)]


@pytest.mark.parametrize("kind", ["llama", "mistral", "qwen2", "qwen3"])
def test_tree_attention_gives_what_plain_forwards_give(kind: str) -> None:
    found = check_trees(Target(tiny_model(kind)), PROMPT, known_trees({"bushy": BUSHY}))
    assert [one.tree for one in found][-1] == "bushy"
    assert max(one.error / one.range for one in found) < 1e-5
    for one in found:
        assert (one.unmasked > 100 * one.error) == (one.nodes > 1 + one.depth), "control"
        assert one.corner_bytes == 4 * one.nodes**2
    widest = max(found, key=lambda one: one.nodes)
    assert widest.nodes == 65
    assert widest.mask_bytes >= widest.corner_bytes


def test_a_mask_that_leaks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    target = Target(tiny_model("llama"))

    def leaking(self: BlockLayout, *_: object) -> torch.Tensor:
        return torch.zeros(len(self), len(self))

    monkeypatch.setattr(BlockLayout, "additive", leaking)
    with pytest.raises(HarnessError, match="tree 'bushy' of 6 nodes: logits are off by"):
        check_trees(target, PROMPT, iter([("bushy", BUSHY)]))


def test_random_trees_are_trees_and_differ_by_seed() -> None:
    shapes = [random_shape(16, seed) for seed in (0, 1)]
    assert shapes[0] != shapes[1]
    assert all(isinstance(shape, TreeShape) and len(shape) == 17 for shape in shapes)
    assert random_shape(16, 0) == shapes[0]


def test_the_command_checks_published_trees_of_the_shipped_target(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "trees.csv"
    assert main(["--threads", "1", "check-trees", "--model", "mini", "--out", str(out)]) == 0
    table = pd.read_csv(out)
    published = table[table["tree"].str.startswith("Medusa")]
    assert len(published) == 8
    assert (published["nodes"] >= 60).all()
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["command"] == "check-trees"
    assert main(["--threads", "1", "check-trees", "--model", str(tmp_path / "none")]) == 2
