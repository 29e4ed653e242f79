"""Layers on several devices: nothing meets what is elsewhere, and every store is kept."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from harness import models
from harness.decoder import Request, collect
from harness.engine import target as engine
from harness.engine.drafter import Drafter
from harness.engine.loop import EngineDecoder
from harness.engine.target import Target
from harness.errors import HarnessError
from harness.models import ModelSpec, load_model, require_placed, use_device
from tests.models import _SIZE, VOCAB, _build, tiny_model
from tests.toys import Oracle

ROOT = Path(__file__).parents[2]
REQUEST = Request((3, 7, 1, 5, 5, 2), 6, frozenset())
# Values need a processor: it has two names.
HALVES = [torch.device("cpu"), torch.device("cpu"), *[torch.device("cpu:0")] * 2]


def test_no_operation_meets_tensors_of_two_devices() -> None:
    alone = ("-p", "no:cacheprovider", "-n", "0", "--tb=short")
    command = [sys.executable, "-m", "pytest", *alone, "tests/engine/on_two_devices.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert "17 passed" in done.stdout


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


def test_a_device_map_reaches_transformers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, asked = _build("llama", "sdpa", 2, _SIZE), {}

    def read(where: str, **settings: Any) -> Any:
        asked.update(settings)
        return model

    monkeypatch.setattr(models, "read_model", read)
    monkeypatch.setattr(models, "use_device", lambda _: None)
    model.save_pretrained(tmp_path)
    spec = ModelSpec(path=str(tmp_path), device="cuda", device_map="balanced")
    with pytest.raises(HarnessError, match="is on cpu, expected cuda; do the devices hold all of"):
        load_model(spec)
    assert asked["device_map"] == "balanced"
    asked.clear()
    load_model(replace(spec, device="cpu", device_map=None))
    assert "device_map" not in asked, "control"


def test_weights_left_elsewhere_are_refused() -> None:
    spec, model = ModelSpec(path="."), _build("llama", "sdpa", 2, _SIZE)
    require_placed(spec, model)
    model.model.layers[3].to("meta")
    with pytest.raises(HarnessError, match=r"layers\.3\S+ is on meta, expected cpu"):
        require_placed(spec, model)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"device_map": "disk"}, "device_map: 'disk', expected auto or balanced or sequential"),
        ({"device_map": "auto"}, "device_map: 'auto' with device cpu, expected cuda"),
        (
            {"device_map": "auto", "device": "cuda", "execution": "compiled"},
            "device_map: 'auto' with execution compiled, expected eager or static",
        ),
    ],
)
def test_a_map_that_cannot_be_is_refused(given: dict[str, str], told: str) -> None:
    with pytest.raises(HarnessError, match=told):
        ModelSpec(path=".", **given)


def test_a_gpu_of_several_becomes_the_current_one(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", made.append)
    for device in ("cpu", "cuda", "cuda:1"):
        use_device(device)
    assert made == [1]
    with pytest.raises(HarnessError, match="device: 'cuda:2' asked for, expected cuda:0 to cuda:1"):
        use_device("cuda:2")
