"""Layers on several devices: nothing meets what is elsewhere, and every store is kept.

No machine of the tests has two devices. Fake tensors stand in: they have devices, shapes and no
values, and an operation on tensors of two devices raises. For values, the processor has two names.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses import fake_tensor
from torch._subclasses.fake_tensor import FakeTensorDeviceMismatchError, FakeTensorMode
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

from harness.decoder import Request, collect
from harness.engine import target as engine
from harness.engine.drafter import Drafter
from harness.engine.loop import EngineDecoder
from harness.engine.masks import causal_layout
from harness.engine.stack import Stack
from harness.engine.target import Target
from harness.engine.tree import _ancestors, _on_device
from harness.errors import HarnessError
from harness.models import ModelSpec, load_target, require_placed
from methods.firp.streams import Streams
from methods.lookahead.drafter import _window_rows
from methods.lookahead.window import layout
from methods.shared.sequences import Sequences
from tests.methods.drafters import ENGINE_METHODS, drafter, random_maps
from tests.models import _SIZE, VOCAB, _build, tiny_model
from tests.toys import Oracle

REQUEST = Request((3, 7, 1, 5, 5, 2), 6, frozenset())
_setup_privateuseone_for_python_backend("fake")  # a kind of device that needs no driver
FIRST, SECOND = torch.device("fake:0"), torch.device("fake:1")
HALVES = [torch.device("cpu"), torch.device("cpu"), *[torch.device("cpu:0")] * 2]


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
def _no_layouts_kept() -> Iterator[None]:
    """Fake ones would serve other tests, and the other way round."""
    kept = (causal_layout, _ancestors, _on_device, layout, _window_rows)
    for function in kept:
        function.cache_clear()
    yield
    for function in kept:
        function.cache_clear()


@contextmanager
def two_devices(monkeypatch: pytest.MonkeyPatch, name: str, execution: str) -> Iterator[Target]:
    """A target whose embeddings and lower layers are on the first, all else on the second."""
    monkeypatch.setattr(Target, "_check_against_model", lambda _: None)
    monkeypatch.setattr(Target, "require_sublayers", lambda _: None)
    monkeypatch.setattr(fake_tensor, "CONSTANT_NUMEL_LIMIT", 0)  # or one number is kept and moved
    monkeypatch.setattr(Tensor, "tolist", _zeros)
    for read in ("item", "__float__", "__bool__", "__int__"):
        monkeypatch.setattr(Tensor, read, lambda _: 0)
    with _no_layouts_kept(), FakeTensorMode(), torch.no_grad():  # autograd would look for a driver
        model: Any = _build(name, "sdpa", 2, _SIZE)
        body = model.model
        for part in (body.embed_tokens, body.rotary_emb, *body.layers[:2]):
            _move(part, FIRST)
        for part in (body.norm, model.lm_head, *body.layers[2:]):
            _move(part, SECOND)
        yield Target(model, execution=execution)


@pytest.mark.parametrize(
    ("method", "execution"),
    [*((method, "eager") for method in (None, *ENGINE_METHODS)), ("firp", "static")],
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


def test_control_states_that_stay_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Stack, "run", Stack._segment)
    with (
        two_devices(monkeypatch, "llama", "eager") as target,
        pytest.raises(FakeTensorDeviceMismatchError),
    ):
        collect(EngineDecoder(target, Drafter()), REQUEST)


def test_both_streams_of_firp_s_training_run_on_layers_of_two_devices(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with two_devices(monkeypatch, "mistral", "eager") as target:
        maps = random_maps(target)
        _move(maps, SECOND)
        ids = torch.zeros(2, 9, dtype=torch.int64, device=SECOND)
        valid = torch.ones(2, 3, 4, dtype=torch.bool, device=SECOND)
        logits, losses = Streams(target, maps).predict(Sequences(ids, ids[:, :4], valid))
        assert (logits.device, losses.device) == (SECOND, SECOND)


def _spread(monkeypatch: pytest.MonkeyPatch) -> Target:
    monkeypatch.setattr(engine, "layer_devices", lambda *_: HALVES)
    return Target(tiny_model("mistral"))


def _oracle(target: Target) -> tuple[list[int], int]:
    request = Request(REQUEST.prompt_ids, 40, frozenset())
    truth, _ = collect(EngineDecoder(Target(tiny_model("mistral")), Drafter()), request)
    used = Oracle(request.prompt_ids, truth, VOCAB)
    tokens, records = collect(EngineDecoder(target, used), request)
    return [int(a == b) for a, b in zip(tokens, truth, strict=True)], len(records)


def test_every_store_keeps_the_accepted_path(monkeypatch: pytest.MonkeyPatch) -> None:
    target = _spread(monkeypatch)
    same, steps = _oracle(target)
    assert len(target.arena.stores) == 2
    assert all(same)
    assert steps < 40 / 2


def test_control_one_store_not_compacted(monkeypatch: pytest.MonkeyPatch) -> None:
    target = _spread(monkeypatch)
    commit = target.arena.commit

    def first_alone(path: list[int]) -> None:
        kept = target.arena.stores
        target.arena.stores = {HALVES[0]: kept[HALVES[0]]} if kept else {}
        commit(path)
        target.arena.stores = kept

    monkeypatch.setattr(target.arena, "commit", first_alone)
    assert not all(_oracle(target)[0])


def test_a_norm_apart_from_the_head_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with two_devices(monkeypatch, "llama", "eager") as target:
        _move(target.norm, FIRST)
        with pytest.raises(HarnessError, match="norm is on fake:0 and the head on fake:1"):
            Target(target.model)


def save(folder: Path) -> ModelSpec:
    tiny_model("llama").save_pretrained(folder)
    return ModelSpec(path=str(folder), device_map="auto")


def test_a_spread_model_answers_as_one_on_one_device(tmp_path: Path) -> None:
    spread = load_target(save(tmp_path))
    plain = load_target(replace(save(tmp_path), device_map=None))
    answers = [collect(EngineDecoder(target, Drafter()), REQUEST)[0] for target in (spread, plain)]
    assert answers[0] == answers[1]


def test_weights_left_elsewhere_are_refused(tmp_path: Path) -> None:
    spec, model = save(tmp_path), _build("llama", "sdpa", 2, _SIZE)
    require_placed(spec, model)
    model.model.layers[3].to("meta")
    with pytest.raises(HarnessError, match=r"layers\.3\S+ is on meta, expected cpu"):
        require_placed(spec, model)


def test_an_unknown_map_is_refused() -> None:
    with pytest.raises(HarnessError, match="device_map: 'disk', expected auto or balanced or seq"):
        ModelSpec(path=".", device_map="disk")
