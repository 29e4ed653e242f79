"""One decoder layer over rows: fused for the Llama family, else the stock module.

The fused layer does what transformers' module does, in about half the operations: queries,
keys and values are one product, gate and up another; norms are one operation; rotary positions are
read from tables once a forward. In float32 its logits are within 1e-5 of the module's, relative to
their range.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import rms_norm, scaled_dot_product_attention

from harness.engine.products import Product, joined

Rotary = tuple[Tensor, Tensor]  # cosine and sine, in the shapes that a layer class's `rotary` gives
Layer = Callable[..., Tensor]
CHOICES = ("fused", "stock")
# Attention and a gated MLP, each behind an RMS norm and added to its input; rotary positions over
# whole heads. Mistral adds sliding windows, Qwen2 biases, Qwen3 norms over single heads.
_FAMILY = {f"{name}DecoderLayer" for name in ("Llama", "Mistral", "Qwen2", "Qwen3")}


class FusedLayer:
    """A layer of the Llama family with joined matrix products.

    ``index``: its place in the stack, and in the cache.
    """

    def __init__(self, layer: Any, index: int, config: Any) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self.index, self.size, self.scale = index, attention.head_dim, attention.scaling
        keys = config.num_key_value_heads
        self.heads = (config.num_attention_heads, keys, keys)
        self.before_attention, self.before_mlp = (
            None if isinstance(norm, nn.Identity) else (norm.weight.detach(), norm.variance_epsilon)
            for norm in (layer.input_layernorm, layer.post_attention_layernorm)
        )
        self.head_norm = _head_norm(attention, self.heads)
        self.qkv = joined(attention.q_proj, attention.k_proj, attention.v_proj)
        self.gate_up = joined(mlp.gate_proj, mlp.up_proj)
        self.out = Product(attention.o_proj.weight, attention.o_proj.bias)
        self.down = Product(mlp.down_proj.weight, mlp.down_proj.bias)
        self.activate = mlp.act_fn

    @property
    def products(self) -> tuple[Product, ...]:
        """The layer's products, in the order in which they run."""
        return self.qkv, self.out, self.gate_up, self.down

    @staticmethod
    def rotary(cos: Tensor, sin: Tensor) -> Rotary:
        """Tables [B, T, 1, D] from transformers' [B, T, D]. The first half of the sine is negated,
        since the rotation takes (x, y) to (x cos - y sin, y cos + x sin).
        """
        half = sin.shape[-1] // 2
        signed = torch.cat([-sin[..., :half], sin[..., half:]], dim=-1)
        return cos[:, :, None], signed[:, :, None]

    def __call__(
        self,
        hidden: Tensor,
        mask: Tensor | None,
        rotary: Rotary,
        cache: Any,
        halves: tuple[bool, bool] | None = None,
    ) -> Tensor:
        """States [B, T, H] after the layer. ``halves`` says whether its attention and its MLP run;
        both do by default.

        ``mask`` [B or 1, 1, T, S] is added to attention scores. Without one a single row sees all
        that the cache returns. Several rows see each other causally, which is right only where the
        cache was empty before them.
        """
        attention, mlp = halves or (True, True)
        if attention:
            hidden = hidden + self._attend(hidden, mask, rotary, cache)
        if mlp:
            gate, up = self.gate_up(normed(hidden, self.before_mlp)).chunk(2, dim=-1)
            hidden = hidden + self.down(self.activate(gate) * up)
        return hidden

    def _attend(self, hidden: Tensor, mask: Tensor | None, rotary: Rotary, cache: Any) -> Tensor:
        (batch, rows, _), (queries, keys, _) = hidden.shape, self.heads
        heads = self.qkv(normed(hidden, self.before_attention)).view(batch, rows, -1, self.size)
        query_key, value = heads.split((queries + keys, keys), dim=2)
        if self.head_norm is not None:
            weight, epsilon = self.head_norm
            query_key = rms_norm(query_key, (self.size,), None, epsilon) * weight
        cos, sin = rotary
        query_key = torch.addcmul(query_key * cos, query_key.roll(self.size // 2, -1), sin)
        query, key = query_key.split((queries, keys), dim=2)
        kv = cache.update(key.transpose(1, 2), value.transpose(1, 2), self.index)
        return self.out(_attention(query, kv, mask, self.scale))


class StockLayer:
    """transformers' own module behind the same call: the reference for the fused layer."""

    def __init__(self, layer: Any) -> None:
        self._layer = layer

    @staticmethod
    def rotary(cos: Tensor, sin: Tensor) -> Rotary:
        """Cosine and sine as they are, which is how transformers' modules take them."""
        return cos, sin

    def __call__(
        self,
        hidden: Tensor,
        mask: Tensor | None,
        rotary: Rotary,
        cache: Any,
        halves: tuple[bool, bool] | None = None,
    ) -> Tensor:
        """As :class:`FusedLayer`; ``halves`` need a module whose parts have Llama's names."""
        layer = self._layer
        arguments = {
            "attention_mask": mask,
            "position_embeddings": rotary,
            "past_key_values": cache,
        }
        if halves is None:
            output: Tensor = layer(hidden, **arguments)
            return output
        attention, mlp = halves
        if attention:
            hidden = hidden + layer.self_attn(layer.input_layernorm(hidden), **arguments)[0]
        if mlp:
            hidden = hidden + layer.mlp(layer.post_attention_layernorm(hidden))
        return hidden


def why_stock(model: Any, weights: str) -> str | None:
    """Why a model's layers cannot be fused; None where they can."""
    layers = model.model.layers
    kinds = {type(layer) for layer in layers}
    unsupported = [
        kind.__name__
        for kind in kinds
        if kind.__name__ not in _FAMILY or not kind.__module__.startswith("transformers.")
    ]
    if unsupported:
        return f"{unsupported[0]} is none of {', '.join(sorted(_FAMILY))}"
    if model.config._attn_implementation != "sdpa":
        return f"attention is {model.config._attn_implementation}"
    if weights != "full":
        return f"weights are {weights}"
    if any(hasattr(module, "_hf_hook") for module in layers.modules()):
        return "accelerate's hooks are on its modules"
    return None


def _head_norm(attention: Any, heads: tuple[int, ...]) -> tuple[Tensor, float] | None:
    """Weights [Hq + Hkv, D] and epsilon of the norms over single heads; None without such norms."""
    if not hasattr(attention, "q_norm"):
        return None
    norms = (attention.q_norm, attention.k_norm)
    parts = [norm.weight.detach().expand(n, -1) for norm, n in zip(norms, heads, strict=False)]
    return torch.cat(parts), attention.q_norm.variance_epsilon


def normed(hidden: Tensor, norm: tuple[Tensor, float] | None) -> Tensor:
    """States [.., H] after an RMS norm of such weights [H] and epsilon; or as they are."""
    if norm is None:
        return hidden
    weight, epsilon = norm
    return rms_norm(hidden, weight.shape, weight, epsilon)


def _attention(query: Tensor, kv: Sequence[Tensor], mask: Tensor | None, scale: float) -> Tensor:
    """[B, T, Hq * D] attended values of queries [B, T, Hq, D]. ``kv``: keys and values, each
    [B, Hkv, S, D]; one of their heads serves Hq / Hkv query heads.

    For a single sequence the key heads become the batch, and the query heads of each read its keys
    with a stride of 0: nothing is copied, and no kernel has to support grouped heads.
    """
    (batch, rows, heads, size), (key, value) = query.shape, kv
    groups = heads // key.shape[1]
    single = groups > 1 and batch == 1
    if single:
        query = query.view(rows, -1, groups, size).permute(1, 2, 0, 3)
        key, value = (x.transpose(0, 1).expand(-1, groups, -1, -1) for x in (key, value))
    else:
        query = query.transpose(1, 2)
        if groups > 1:
            key, value = (x.repeat_interleave(groups, dim=1) for x in (key, value))
    causal = mask is None and rows > 1
    attended = scaled_dot_product_attention(query, key, value, mask, is_causal=causal, scale=scale)
    if single:
        return attended.permute(2, 0, 1, 3).reshape(1, rows, -1)
    return attended.transpose(1, 2).flatten(2)
