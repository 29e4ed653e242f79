"""What the host reads of the device, and how often.

Counted are the calls by which Python reads a tensor; copies from the host are not seen.
"""

from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor

from harness.decoder import Request
from harness.engine.drafter import Context, Drafter, Outcome
from harness.engine.host import to_host
from harness.engine.loop import EngineDecoder
from harness.engine.target import Target
from methods.firp.drafter import FirpDrafter, MapProducts
from methods.shared.trees import BestFirstTree
from tests.methods.drafters import drafter, random_maps
from tests.models import tiny_model

REQUEST = Request((3, 7, 1, 5, 5, 2), 20, frozenset())
# On a GPU each of them waits for all that is queued.
READS = ("tolist", "item", "cpu", "numpy", "nonzero", "__bool__", "__int__", "__float__")


def test_one_read_gives_each_tensor_its_numbers() -> None:
    ids, score, table = torch.tensor([2**52 + 1, 3]), torch.tensor(0.5), torch.ones(2, 2) / 3
    assert to_host(ids, score, table) == [[2**52 + 1, 3], [0.5], table.flatten().tolist()]


def reads(monkeypatch: pytest.MonkeyPatch, used: Drafter, target: Target) -> list[int]:
    """How often each step of an answer reads, the first, which has no drafts, aside."""
    count = Counter[str]()

    def counted(name: str) -> Any:
        original = getattr(Tensor, name)

        def call(self: Tensor, *args: Any, **kwargs: Any) -> Any:
            count[name] += 1
            return original(self, *args, **kwargs)

        return call

    for name in READS:
        monkeypatch.setattr(Tensor, name, counted(name))
    found, before = [], 0
    steps = EngineDecoder(target, used).steps(REQUEST)
    for _ in steps:
        found.append(sum(count.values()) - before)
        before = sum(count.values())
    return found[2:]


@pytest.mark.parametrize("name", ["llama", "mistral"])
@pytest.mark.parametrize("method", [None, "firp", "medusa", "lookahead", "lookup"])
def test_a_step_reads_the_device_once(
    monkeypatch: pytest.MonkeyPatch, method: str | None, name: str
) -> None:
    target = Target(tiny_model(name))
    used = drafter(method, target) if method else Drafter()
    assert set(reads(monkeypatch, used, target)) == {1}


def test_a_step_of_trees_built_anew_reads_once(monkeypatch: pytest.MonkeyPatch) -> None:
    target = Target(tiny_model("mistral"))
    used = FirpDrafter(MapProducts(random_maps(target), target), BestFirstTree(5, 3), "combined")
    assert set(reads(monkeypatch, used, target)) == {1}


def test_firp_s_second_pass_is_a_read_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    target = Target(tiny_model("llama"))
    assert set(reads(monkeypatch, drafter("firp_two_pass", target), target)) == {2}


def test_control_a_drafter_that_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    class Curious(Drafter):
        def observe(self, context: Context, outcome: Outcome) -> None:
            float(outcome.hidden[0, 0, 0])

    target = Target(tiny_model("llama"))
    assert set(reads(monkeypatch, Curious(), target)) == {2}
