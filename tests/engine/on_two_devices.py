"""Layers on two devices: nothing meets what is elsewhere. test_devices.py runs this file.

No machine of the tests has two devices. Fake tensors stand in: they have devices, shapes and no
values, and an operation on tensors of two devices raises. They need a kind of device without a
driver, which torch keeps for the rest of a process: so they have one of their own.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses import fake_tensor
from torch._subclasses.fake_tensor import FakeTensorDeviceMismatchError, FakeTensorMode
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

from harness.decoder import Request, collect
from harness.engine.drafter import Drafter
from harness.engine.loop import EngineDecoder
from harness.engine.stack import Stack
from harness.engine.target import Target
from harness.errors import HarnessError
from harness.method import Answer
from methods.firp.streams import Streams
from methods.medusa.variants.package import _old_llama
from methods.shared.sequences import Sequences
from tests.methods.drafters import ENGINE_METHODS, drafter, random_maps
from tests.models import _SIZE, _build

REQUEST = Request((3, 7, 1, 5, 5, 2), 6, frozenset())
_setup_privateuseone_for_python_backend("fake")
FAKES = FakeTensorMode()  # one, since layouts are kept
FIRST, SECOND = torch.device("fake:0"), torch.device("fake:1")


def _move(module: nn.Module, device: torch.device) -> None:
    """Parameters and buffers; ``Module.to`` refuses fake ones."""
    for part in module.modules():
        for name, held in part._parameters.items():
            if held is not None:
                moved = held.detach().to(device)
                part._parameters[name] = nn.Parameter(moved, requires_grad=False)
        for name, buffer in part._buffers.items():
            part._buffers[name] = None if buffer is None else buffer.to(device)


def _zeros(fake: Tensor) -> Any:
    """What reaches the host of a tensor without values."""
    if fake.ndim == 0:
        return 0
    return [_zeros(fake[i]) for i in range(len(fake))]


@contextmanager
def two_devices(
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    execution: str = "eager",
    head: torch.device = SECOND,
) -> Iterator[Target]:
    """A target whose embeddings and lower layers are on the first, upper ones on the second."""
    monkeypatch.setattr("harness.engine.target.require_driven", lambda _: None)
    monkeypatch.setattr(Target, "require_sublayers", lambda _: None)
    monkeypatch.setattr(fake_tensor, "CONSTANT_NUMEL_LIMIT", 0)  # or one number is kept and moved
    monkeypatch.setattr(Tensor, "tolist", _zeros)
    for read in ("item", "__float__", "__bool__", "__int__"):
        monkeypatch.setattr(Tensor, read, lambda _: 0)
    with FAKES, torch.no_grad():  # autograd would look for a driver
        model: Any = _build(name, "sdpa", 2, _SIZE)
        body = model.model
        for part in (body.embed_tokens, body.rotary_emb, *body.layers[:2]):
            _move(part, FIRST)
        for part in (body.norm, *body.layers[2:]):
            _move(part, SECOND)
        _move(model.lm_head, head)
        yield Target(model, execution=execution)


# A draft model is on one device whatever the target is on, and so is a decoder layer of a method's
# own, which cannot be copied onto a fake one.
ALONE = {"draft_model", "hydra_plus", "eagle", "eagle2", "chimera"}
SPREAD = tuple(method for method in ENGINE_METHODS if method not in ALONE)


@pytest.mark.parametrize(
    ("method", "execution"),
    [*((method, "eager") for method in (None, *SPREAD)), ("firp", "static")],
)
def test_no_operation_meets_tensors_of_two_devices(
    monkeypatch: pytest.MonkeyPatch, method: str | None, execution: str
) -> None:
    with two_devices(monkeypatch, "mistral", execution) as target:
        used = drafter(method, target) if method else Drafter()
        tokens, _ = collect(EngineDecoder(target, used), REQUEST)
        assert len(tokens) == REQUEST.max_new_tokens
        devices = {device: len(store) for device, store in target.arena.stores.items()}
        assert devices == {FIRST: 2, SECOND: 2}


@pytest.mark.parametrize("method", ["firp", "medusa"])
def test_a_head_beside_the_embeddings(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    """So accelerate leaves a head that shares their table; the norm is above the last layer."""
    with two_devices(monkeypatch, "llama", head=FIRST) as target:
        tokens, _ = collect(EngineDecoder(target, drafter(method, target)), REQUEST)
        assert len(tokens) == REQUEST.max_new_tokens
        assert target.devices == [FIRST, SECOND]


def test_control_states_that_stay_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Stack, "run", Stack._segment)
    with (
        two_devices(monkeypatch, "llama") as target,
        pytest.raises(FakeTensorDeviceMismatchError),
    ):
        collect(EngineDecoder(target, Drafter()), REQUEST)


def test_both_streams_of_firp_s_training_run_on_layers_of_two_devices(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with two_devices(monkeypatch, "mistral") as target:
        maps = random_maps(target)
        _move(maps, SECOND)
        answers = (Answer((0,), (0,) * 8),) * 2
        ids = torch.zeros(2, 9, dtype=torch.int64, device=SECOND)
        valid = torch.ones(2, 3, 4, dtype=torch.bool, device=SECOND)
        index = torch.zeros(2, 3, 4, dtype=torch.int64, device=SECOND)
        logits, losses = Streams(target, maps).predict(
            Sequences(answers, ids, ids[:, :4], valid, ids[0], index)
        )
        assert (logits.device, losses.device) == (SECOND, SECOND)


def test_the_medusa_package_refuses_two_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        two_devices(monkeypatch, "llama") as target,
        pytest.raises(HarnessError, match="medusa_llm: a target on 2 devices"),
    ):
        _old_llama(target)
