"""Targets of packed weights: they are read packed, decode losslessly, train, and are audited."""

import copy
import logging
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
from bitsandbytes.nn import Linear4bit
from torch import Tensor, nn

from harness.__main__ import main
from harness.analysis.divergences import cause
from harness.data.prompts import Prompt, hash_ids, write_prompts
from harness.decoder import Request, collect
from harness.engine import weights as packing
from harness.engine.drafter import Drafter
from harness.engine.loop import EngineDecoder
from harness.engine.target import Target
from harness.enginebench import bandwidth
from harness.enginebench.bandwidth import weight_bytes
from harness.errors import HarnessError
from harness.experiment.arms import parse_arm
from harness.files import read_json, sha256_bytes, sha256_file
from harness.measure.audit import audit, float32_logits
from harness.measure.setup import SessionFiles, measure_session
from harness.method import Answer, Job
from harness.models import ModelSpec, load_model, load_target, weights_hash
from methods.firp.projections import load as load_maps
from methods.firp.projections import save as save_maps
from methods.firp.streams import Streams
from methods.medusa.heads import Heads
from methods.medusa.settings import MedusaSettings
from methods.medusa.training import predictor
from methods.medusa.variants.package import MedusaLlm
from methods.shared import training
from tests.methods.drafters import ENGINE_METHODS, drafter, random_heads, random_maps
from tests.methods.test_firp_training import SETTINGS
from tests.models import VOCAB, save_tokenizer, tiny_model
from tests.test_checkpoints import WEIGHT, change, save

PACKED = ("int8", "nf4")
LAYERS = {"int8": "Linear8bitLt", "nf4": "Linear4bit"}
DTYPES = ("float32", "bfloat16", "float16")
PROMPT = tuple((11 * (i % 7) + 3) % VOCAB for i in range(17))
REQUEST = Request(PROMPT, 24, frozenset())


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    found = {name: tmp_path_factory.mktemp(name) for name in ("llama", "qwen2")}
    for name, folder in found.items():
        tiny_model(name).save_pretrained(folder)
    return found


def spec(folder: Path, weights: str, dtype: str = "float32") -> ModelSpec:
    return ModelSpec(path=str(folder), dtype=dtype, weights=weights)


@lru_cache
def loaded(folder: Path, weights: str, dtype: str = "float32") -> Target:
    with torch.inference_mode(False):
        return load_target(spec(folder, weights, dtype))


def packed_layers(module: nn.Module) -> Iterator[tuple[str, Any]]:
    for name, layer in module.named_modules():
        if type(layer).__name__ in LAYERS.values():
            yield name, layer


def by_hand(layer: Any) -> Tensor:
    """The matrix that a packed one stands for, by its definition, in float32."""
    if type(layer).__name__ == LAYERS["int8"]:
        scales = layer.weight.SCB if layer.state.SCB is None else layer.state.SCB
        return layer.weight.data.float() * scales[:, None] / 127
    state, pairs = layer.weight.quant_state, layer.weight.data.flatten()
    codes = torch.stack([pairs >> 4, pairs & 15], dim=1).flatten().long()
    values = state.code[codes].view(-1, 64) * state.absmax[:, None]
    shape = (layer.out_features, layer.in_features)
    return values.view(shape).to(state.dtype).float()  # products are of what the dtype holds


def nf4_layer(
    wide: int, out: int, dtype: torch.dtype = torch.float32, seed: int = 0
) -> nn.Sequential:
    """One packed layer, as a model of its own."""
    torch.manual_seed(seed)
    layer = Linear4bit(wide, out, compute_dtype=dtype, compress_statistics=False, quant_type="nf4")
    return nn.Sequential(layer.to(dtype).to("cpu")).requires_grad_(False)


def unpacked(target: Target, name: str) -> Target:
    """The same weights as an ordinary model."""
    full = tiny_model(name)
    model = full.__class__(full.config)
    state = {name: value.float() for name, value in target.model.state_dict().items()}
    state |= {f"{name}.weight": by_hand(layer) for name, layer in packed_layers(target.model)}
    model.load_state_dict({name: state[name] for name in model.state_dict()})
    return Target(model)


def answer(target: Target, method: str | None = None) -> list[int]:
    used = drafter(method, target) if method else Drafter()
    return collect(EngineDecoder(target, used), REQUEST)[0]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weights", PACKED)
def test_layers_are_packed_and_all_else_is_not(
    folders: dict[str, Path], weights: str, dtype: str, caplog: pytest.LogCaptureFixture
) -> None:
    target = loaded(folders["qwen2"], weights, dtype)
    found = dict(packed_layers(target.model))
    assert {type(layer).__name__ for layer in found.values()} == {LAYERS[weights]}
    assert len(found) == 7 * 4
    if weights == "nf4":
        assert {layer.weight.quant_state.quant_type for layer in found.values()} == {"nf4"}
    else:
        assert {layer.state.threshold for layer in found.values()} == {6}, "the paper's"
    assert type(target.model.lm_head) is nn.Linear
    assert target.dtype == getattr(torch, dtype)
    assert target.model.num_parameters() == tiny_model("qwen2").num_parameters()
    caplog.clear()  # the library says at its import which kernels a CPU lacks
    with caplog.at_level(logging.WARNING), torch.inference_mode():
        target.model(input_ids=torch.tensor([PROMPT]))
    assert not caplog.records, "no line a product"


@pytest.mark.parametrize("weights", PACKED)
def test_a_step_s_bytes_are_the_packed_ones_and_their_scales(
    folders: dict[str, Path], weights: str
) -> None:
    full, target = load_model(spec(folders["llama"], "full")), loaded(folders["llama"], weights)
    numbers = sum(
        layer.in_features * layer.out_features for _, layer in packed_layers(target.model)
    )
    rows = sum(layer.out_features for _, layer in packed_layers(target.model))
    packed = {"int8": numbers + 4 * rows, "nf4": numbers // 2 + 4 * numbers // 64}[weights]
    assert weight_bytes(target.model) == weight_bytes(full) - 4 * numbers + packed
    fresh = load_model(spec(folders["llama"], weights))
    assert weight_bytes(fresh) == weight_bytes(target.model), "before its first forward too"
    assert all(layer.weight.is_contiguous() for _, layer in packed_layers(fresh))


@lru_cache
def truth(folder: Path) -> list[int]:
    with torch.inference_mode(False):
        return answer(loaded(folder, "nf4"))


@pytest.mark.parametrize("name", ["llama", "qwen2"])
def test_nf4_answers_are_those_of_the_same_weights_unpacked(
    folders: dict[str, Path], name: str
) -> None:
    assert truth(folders[name]) == answer(unpacked(loaded(folders[name], "nf4"), name))
    assert truth(folders[name]) != answer(Target(tiny_model(name))), "control: packing moves them"


@pytest.mark.parametrize("method", ENGINE_METHODS)
@pytest.mark.parametrize("name", ["llama", "qwen2"])
def test_every_method_s_nf4_answers_are_the_target_s(
    folders: dict[str, Path], name: str, method: str
) -> None:
    assert answer(loaded(folders[name], "nf4"), method) == truth(folders[name])


def test_steps_of_static_shape_give_the_same_answers(folders: dict[str, Path]) -> None:
    static = Target(loaded(folders["llama"], "nf4").model, execution="static")
    assert answer(static, "firp") == truth(folders["llama"])


def test_control_nf4_siblings_that_see_each_other(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    target = Target(loaded(folders["llama"], "nf4").model)  # with masks of its own
    monkeypatch.setattr(
        "harness.engine.tree._ancestors",
        lambda parents: torch.ones(len(parents), len(parents), dtype=torch.bool).tril(),
    )
    assert answer(target, "firp") != truth(folders["llama"])


@torch.inference_mode()
def _moved_by_other_rows(target: Target) -> float:
    """How far a first token's state moves when others follow it, over all layers."""
    alone, beside = (
        target.model.model(input_ids=torch.tensor([ids]), use_cache=False).last_hidden_state[0, 0]
        for ids in (PROMPT[:1], PROMPT)
    )
    return float((alone - beside).abs().max())


def test_rows_move_each_other_where_int8_finds_outliers(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    model = copy.deepcopy(tiny_model("llama"))
    for layer in model.model.layers:
        layer.input_layernorm.weight.data.mul_(4)  # activations beyond the threshold of 6
    model.save_pretrained(tmp_path)
    assert _moved_by_other_rows(loaded(tmp_path, "int8")) > 1e-3
    assert _moved_by_other_rows(loaded(tmp_path, "nf4")) < 1e-4
    assert _moved_by_other_rows(loaded(folders["llama"], "int8")) < 1e-4, "control: no outliers"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("weights", PACKED)
@pytest.mark.parametrize("name", ["llama", "qwen2"])
def test_the_audit_s_logits_are_those_of_the_same_weights_unpacked(
    folders: dict[str, Path], name: str, weights: str, dtype: str
) -> None:
    target = loaded(folders[name], weights, dtype)
    with torch.inference_mode():
        wide = unpacked(target, name).model(input_ids=torch.tensor([PROMPT])).logits[0, -1]
        full = tiny_model(name)(input_ids=torch.tensor([PROMPT])).logits[0, -1]
    torch.testing.assert_close(float32_logits(target, PROMPT), wide, atol=1e-3, rtol=1e-4)
    assert float((full - wide).abs().max()) > 1e-2, "control: not the files' weights"


@pytest.mark.parametrize("weights", PACKED)
def test_in_float32_too_a_close_token_is_numerical_and_a_far_one_is_a_bug(
    folders: dict[str, Path], weights: str
) -> None:
    target = loaded(folders["llama"], weights)
    exact = float32_logits(target, PROMPT)
    best, *others = exact.argsort(descending=True).tolist()
    far = audit(target, PROMPT, (best, others[-1]))
    assert far["exact_margin"] == pytest.approx(float(exact[best] - exact[others[-1]]))
    assert cause(far) == "METHOD BUG"
    close = far | {"exact_margin": 5e-5, "rounding": 0.0}
    assert cause(close) == "METHOD BUG"
    assert cause(close | {"margin": 6e-5}) == "numerical", "a tie as without packing"
    if weights == "int8":
        assert 1e-2 < far["rounding"] < far["exact_margin"] / 2
    else:
        assert far["rounding"] < 1e-4


def _gradients(target: Target, method: str, folder: Path) -> Tensor:
    """Of the first step of a training through ``target``, which stays as it is."""
    answers = [Answer(PROMPT[:at], PROMPT[at:]) for at in (4, 7, 9)]
    work = Job(target, SETTINGS, folder, 0, answers, answers)
    target.model.requires_grad_(False)
    if method == "firp":
        maps = random_maps(target)
        learner = training.Learner("firp", maps, Streams(target, maps).predict, 3)
    else:
        heads = Heads(3, 1, target.model.lm_head.weight.detach().float())
        work = replace(work, settings=MedusaSettings(heads=3, batch=2))
        learner = training.Learner("medusa", heads, predictor(target, heads, "kl"), 3)
    before = {name: value.clone() for name, value in target.model.state_dict().items()}
    training._step(work, learner, training.Updates(work, learner, rate=1e-3), 0)
    for name, value in target.model.state_dict().items():
        assert torch.equal(value, before[name]), name
    grads = [p.grad.flatten() for p in learner.module.parameters() if p.grad is not None]
    return torch.cat(grads)


@pytest.mark.parametrize("method", ["firp", "medusa"])
@pytest.mark.parametrize("weights", PACKED)
def test_gradients_are_those_of_the_same_weights_unpacked(
    folders: dict[str, Path], weights: str, method: str, tmp_path: Path
) -> None:
    target = loaded(folders["llama"], weights)
    found = _gradients(target, method, tmp_path)
    wanted = _gradients(unpacked(target, "llama"), method, tmp_path)
    assert torch.isfinite(found).all()
    off = float((found - wanted).norm() / wanted.norm())
    assert off < (1e-3 if weights == "nf4" else 0.3)


def test_full_weights_keep_their_hash_and_packed_ones_have_their_own(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    file = folders["llama"] / "model.safetensors"
    full, int8, nf4 = (weights_hash(spec(folders["llama"], w)) for w in ("full", *PACKED))
    assert full == sha256_bytes(f"{file.name}:{sha256_file(file)}".encode())
    assert len({full, int8, nf4}) == 3
    on_hub = [ModelSpec(hub="a/b", revision="c", weights=w) for w in ("full", *PACKED)]
    assert weights_hash(on_hub[0]) == sha256_bytes(b"a/b@c")
    assert len(set(map(weights_hash, on_hub))) == 3
    target = loaded(folders["llama"], "nf4")
    assert target.weights_hash == nf4
    save_maps(random_maps(target), tmp_path, {"target_hash": nf4})
    load_maps(tmp_path, target.hidden_size, nf4)
    for other in (full, int8):
        with pytest.raises(HarnessError, match=f"target_hash is {nf4}, expected {other}"):
            load_maps(tmp_path, target.hidden_size, other)


def test_rows_and_provenance_name_the_weights(folders: dict[str, Path], tmp_path: Path) -> None:
    save_tokenizer(folders["llama"])
    place = ("xsum-1-1", "1", "xsum", "summary", 1, "")
    file = tmp_path / "prompts.jsonl"
    write_prompts(file, [Prompt(*place, PROMPT, hash_ids(PROMPT), "w1 w2")], 0)
    arms = {name: parse_arm(name, {}) for name in ("autoregressive", "autoregressive_again")}
    labels = {"experiment": "x", "model": "m", "dataset": "xsum", "session": 1}
    options = {"labels": labels, "seed": 1, "max_new_tokens": 4, "warmup": 1}
    given = spec(folders["llama"], "int8")
    measure_session(given, arms, SessionFiles(file, file, tmp_path, tmp_path / "1.jsonl"), options)
    found = read_json(tmp_path / "1.provenance.json")
    assert found["model"]["weights"] == "int8"
    assert found["quantised_by"] == {"bitsandbytes": version("bitsandbytes")}
    assert found["weights"] == weights_hash(given)
    assert found["parameters"] == tiny_model("llama").num_parameters()


def test_the_engine_benchmark_of_packed_weights(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(bandwidth.BUFFER, "cpu", 1 << 16)
    grid = "--rows 1,2 --contexts 8 --repeats 1 --rounds 1 --tokens 3 --no-compile".split()
    model = ["--model", str(folders["llama"]), "--weights", "nf4"]
    assert main(["--threads", "1", "engine", *model, *grid, "--out", str(tmp_path)]) == 0
    found = read_json(tmp_path / "engine.json")
    packed = loaded(folders["llama"], "nf4")
    assert found["weights"] == f"nf4, sha256 {packed.weights_hash}"
    assert found["bytes"]["weights"] == weight_bytes(packed.model)
    assert found["packages"]["bitsandbytes"] == version("bitsandbytes")


def _refusal(given: ModelSpec) -> str:
    with pytest.raises(HarnessError) as caught:
        load_target(given)
    (line,) = str(caught.value).splitlines()
    return line


@pytest.mark.parametrize("weights", PACKED)
def test_packed_too_every_weight_comes_from_the_files(tmp_path: Path, weights: str) -> None:
    shard = save(tmp_path, "safetensors", torch.float32)[WEIGHT]
    where = f"model '{tmp_path}': "
    change(shard, WEIGHT, torch.ones(40, 32))
    said = f"{where}weight '{WEIGHT}' is [40, 32], expected [48, 32]"
    assert _refusal(spec(tmp_path, weights)) == said
    change(shard, WEIGHT, None)
    missing = f"{where}no weight '{WEIGHT}' in its files; expected all"
    assert _refusal(spec(tmp_path, weights)) == missing


@pytest.mark.parametrize("weights", ["full", *PACKED])
def test_files_of_packed_weights_are_refused(
    folders: dict[str, Path], tmp_path: Path, weights: str
) -> None:
    loaded(folders["llama"], "nf4").model.save_pretrained(tmp_path)
    said = f"model '{tmp_path}': its files hold packed weights, expected full ones"
    assert _refusal(spec(tmp_path, weights)) == said


def test_unknown_weights_and_a_missing_library_are_one_line(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(HarnessError, match="weights: 'int4', expected full or int8 or nf4"):
        spec(folders["llama"], "int4")
    monkeypatch.setattr(packing, "find_spec", lambda name: None)
    assert _refusal(spec(folders["llama"], "nf4")) == (
        "weights: 'nf4' needs bitsandbytes, which is not installed; expected it, by "
        "pip install -c constraints.txt -e '.[quantised]'"
    )
    load_target(spec(folders["llama"], "full"))


def test_the_medusa_package_refuses_packed_weights(folders: dict[str, Path]) -> None:
    target = loaded(folders["llama"], "nf4")
    with pytest.raises(HarnessError, match="medusa_llm: weights 'nf4'; the package runs full ones"):
        MedusaLlm(target, random_heads(target), (2, 1))


# Rows of 64 are whole blocks, and the library multiplies; of 32 and 96 they are none.
@pytest.mark.parametrize("wide", [32, 64, 96])
@pytest.mark.parametrize("dtype", DTYPES)
def test_nf4_multiplies_by_the_numbers_of_its_definition(dtype: str, wide: int) -> None:
    layer = nf4_layer(wide, 40, getattr(torch, dtype))
    packing.multiply_alike(layer)
    states = torch.randn(3, wide, generator=torch.Generator().manual_seed(2)).to(layer[0].bias)
    wanted = by_hand(layer[0])
    assert packing.widened(layer)[0].weight.equal(wanted)
    product = nn.functional.linear(states, wanted.to(states), layer[0].bias)
    assert layer(states).equal(product)
    shifted = wanted.flatten().roll(1).view_as(wanted).to(states)
    assert not product.equal(nn.functional.linear(states, shifted, layer[0].bias)), "control"


def test_a_copy_multiplies_by_its_own_weights() -> None:
    layer, other = nf4_layer(32, 64), nf4_layer(32, 64, seed=1)
    packing.multiply_alike(layer)
    copied = copy.deepcopy(layer)
    copied[0].weight = other[0].weight
    states = torch.ones(1, 32)
    assert copied(states).equal(nn.functional.linear(states, by_hand(other[0]), layer[0].bias))
    assert not copied(states).equal(layer(states))


@pytest.mark.parametrize("wide", [32, 64])
def test_a_cpu_that_could_multiply_in_bfloat16_does_not(
    wide: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bitsandbytes.nn.modules.has_avx512bf16", lambda: True)
    layer = nf4_layer(wide, 40).eval()
    packing.multiply_alike(layer)
    states = torch.ones(1, wide)
    wanted = nn.functional.linear(states, by_hand(layer[0]), layer[0].bias)
    assert layer(states).equal(wanted)
    layer[0].support_avx512bf16_for_cpu = True
    with pytest.raises(AssertionError, match="N must be divisible"):
        type(layer[0]).forward(layer[0], states)  # control: the library would pack anew
