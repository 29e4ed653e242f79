"""Fused layers are transformers' own, and packed products are products."""

from collections.abc import Callable, Collection
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from harness.decoder import Request, collect
from harness.engine import products
from harness.engine.block import Block, RowGroup
from harness.engine.drafter import Drafter
from harness.engine.layers import FusedLayer, StockLayer
from harness.engine.loop import EngineDecoder
from harness.engine.masks import BlockLayout
from harness.engine.products import Product, joined
from harness.engine.stack import Sublayer
from harness.engine.target import Target
from harness.errors import HarnessError
from harness.models import ModelSpec
from tests.models import ARCHITECTURES, VOCAB, tiny_model
from tests.toys import BUSHY

ALL = (*ARCHITECTURES, "llama_gqa", "llama_biases", "llama_tied")
PROMPT = [(11 * i + 3) % VOCAB for i in range(20)]  # mistral's window is 12
SOME = frozenset({(0, "attention"), (0, "mlp"), (1, "mlp"), (2, "attention"), (3, "mlp")})
CPU = torch.device("cpu")
PACKS = products.kind(CPU, torch.float32) == "onednn"


def block(engine: Target) -> Block:
    """A tree, and two rows that enter at layer 2 and see the root and themselves."""
    nodes = len(BUSHY)
    visible = torch.zeros(nodes + 2, nodes + 2, dtype=torch.bool)
    visible[:nodes, :nodes] = BUSHY.ancestors
    visible[nodes:, 0] = True
    visible[nodes:, nodes:] = torch.ones(2, 2, dtype=torch.bool).tril()
    positions = torch.cat([torch.tensor(BUSHY.depths), torch.tensor([1, 2])])
    ids = [5 + 3 * i for i in range(nodes)]
    tree = RowGroup(0, nodes, lambda _: engine.embed(ids))
    entering = RowGroup(2, 2, lambda states: 0.5 * states[:, :2])
    return Block((tree, entering), BlockLayout(visible, positions, engine.device))


@torch.inference_mode()
def run(engine: Target, keep: Collection[Sublayer] | None = None) -> dict[str, Tensor]:
    """Logits of a block behind a prompt, and states that enter layers, of both."""
    engine.begin(64)
    found = {f"prompt {k}": v for k, v in engine.prefill(PROMPT, (1, 3)).items()}
    hidden, states = engine.forward(block(engine), keep=keep, capture=(1, 3))
    found |= {f"block {k}": v for k, v in states.items()}
    one = Block((RowGroup(0, 1, lambda _: engine.embed([7])),), BlockLayout(*_alone(engine)))
    row, _ = engine.forward(one, keep=keep)
    return found | {"logits": engine.logits(hidden[0]), "one row": engine.logits(row[0])}


def _alone(engine: Target) -> tuple[Tensor, Tensor, torch.device]:
    return torch.ones(1, 1, dtype=torch.bool), torch.zeros(1, dtype=torch.int64), engine.device


def off(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    """The largest difference, as a share of the range of what differs."""
    assert found.keys() == expected.keys()
    return max(
        float((found[name] - expected[name]).abs().max() / expected[name].abs().max())
        for name in found
    )


@pytest.mark.parametrize("keep", [None, SOME], ids=["all", "some"])
@pytest.mark.parametrize("name", ALL)
def test_fused_layers_give_what_stock_layers_give(
    name: str, keep: Collection[Sublayer] | None
) -> None:
    fused, stock = Target(tiny_model(name)), Target(tiny_model(name), layers="stock")
    assert isinstance(fused.stack.layers[0], FusedLayer)
    assert isinstance(stock.stack.layers[0], StockLayer)
    assert off(run(fused, keep), run(stock, keep)) < 1e-5


def _swap(layer: FusedLayer) -> None:
    query, key, value = layer.qkv.weight.split(32)
    layer.qkv = Product(torch.cat([key, query, value]))


def _drop_bias(layer: FusedLayer) -> None:
    layer.qkv = Product(layer.qkv.weight)


def _wrong_pack(layer: FusedLayer) -> None:
    layer.out.packed = Product(layer.out.weight.flip(0)).packed


def _drop_head_norm(layer: FusedLayer) -> None:
    layer.head_norm = None


BUGS = [
    ("llama", _swap),
    ("qwen2", _drop_bias),
    ("llama_biases", _drop_bias),
    ("qwen3", _drop_head_norm),
]
BUGS += [("llama", _wrong_pack)] if PACKS else []


@pytest.mark.parametrize(("name", "bug"), BUGS)
def test_control_a_bug_in_one_layer_is_seen(name: str, bug: Callable[[FusedLayer], None]) -> None:
    fused, stock = Target(tiny_model(name)), Target(tiny_model(name), layers="stock")
    layer = fused.stack.layers[2]
    assert isinstance(layer, FusedLayer)
    bug(layer)
    assert off(run(fused), run(stock)) > 1e-3


def test_answers_are_the_same() -> None:
    request = Request(tuple(PROMPT), 60, frozenset())
    answers = [
        collect(EngineDecoder(Target(tiny_model("qwen3"), layers=layers), Drafter()), request)[0]
        for layers in ("fused", "stock")
    ]
    assert answers[0] == answers[1]


@pytest.mark.parametrize(
    ("model", "layers", "why"),
    [
        (lambda: tiny_model("llama"), "stock", "asked for"),
        (lambda: tiny_model("llama", "eager"), "fused", "attention is eager"),
        (lambda: _other_layers(), "fused", "OtherLayer is none of LlamaDecoderLayer"),
    ],
)
def test_what_has_no_fused_layers_runs_its_own(
    model: Callable[[], nn.Module], layers: str, why: str
) -> None:
    engine = Target(model(), layers=layers)
    assert engine.why_stock is not None and engine.why_stock.startswith(why)
    assert (engine.product_kind, engine.packed_bytes) == ("stock", 0)
    assert Target(tiny_model("llama")).why_stock is None, "control"


def _other_layers() -> nn.Module:
    model = tiny_model("llama", seed=9)

    class OtherLayer(type(model.model.layers[0])):  # type: ignore[misc]
        """Whatever it does, it is not the layer that was fused."""

    for layer in model.model.layers:
        layer.__class__ = OtherLayer
    return model


def test_an_unknown_choice_is_named() -> None:
    with pytest.raises(HarnessError, match="layers: 'fast', expected fused or stock"):
        ModelSpec(path="x", layers="fast")
    with pytest.raises(HarnessError, match="execution: 'graphs' with device cpu, expected cuda"):
        ModelSpec(path="x", execution="graphs")


def test_joined_layers_hold_their_weights_once() -> None:
    layers = [nn.Linear(8, n) for n in (6, 2, 2)]
    rows = torch.randn(3, 8)
    apart = torch.cat([layer(rows) for layer in layers], dim=-1)
    whole = joined(*layers)
    torch.testing.assert_close(whole(rows), apart)
    torch.testing.assert_close(torch.cat([layer(rows) for layer in layers], dim=-1), apart)
    assert layers[1].weight.data_ptr() == whole.weight[6:].data_ptr(), "a part of the joined one"
    assert joined(*layers).weight.data_ptr() == whole.weight.data_ptr(), "joined once"
    other = joined(layers[1], layers[0])
    assert other.weight.data_ptr() != whole.weight.data_ptr(), "control: another order"


@pytest.mark.skipif(not PACKS, reason="torch has no oneDNN here")
@pytest.mark.parametrize("rows", [1, 2, 7, 16, 33, 200])
def test_packed_products_serve_any_number_of_rows(rows: int) -> None:
    weight, bias = torch.randn(40, 24), torch.randn(40)
    product, given = Product(weight, bias), torch.randn(1, rows, 24)
    assert product.packed is not None
    assert product.packed_bytes == weight.nbytes
    torch.testing.assert_close(product(given), nn.functional.linear(given, weight, bias))


@pytest.mark.skipif(not PACKS, reason="torch has no oneDNN here")
def test_gradients_flow_through_the_plain_weight() -> None:
    product, given = Product(torch.randn(40, 24)), torch.randn(5, 24, requires_grad=True)
    (product(given) ** 2).sum().backward()
    expected = 2 * (given @ product.weight.T) @ product.weight
    torch.testing.assert_close(given.grad, expected)


@pytest.mark.skipif(not PACKS, reason="torch has no oneDNN here")
def test_a_wrong_pack_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    right = products._OPERATIONS

    def wrong(weight: Tensor, rows: int) -> Tensor:
        return right._reorder_linear_weight(weight.flip(0).contiguous(), rows)

    broken = SimpleNamespace(
        _reorder_linear_weight=wrong, _linear_pointwise=right._linear_pointwise
    )
    monkeypatch.setattr(products, "_OPERATIONS", broken)
    with pytest.raises(HarnessError, match=r"oneDNN's product of a matrix \[40, 24\] is off by"):
        Product(torch.randn(40, 24))


def test_without_onednn_products_are_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "_OPERATIONS", SimpleNamespace())
    product = Product(torch.randn(40, 24))
    assert (products.kind(CPU, torch.float32), product.packed) == ("plain", None)
    given = torch.randn(3, 24)
    assert torch.equal(product(given), given @ product.weight.T)
