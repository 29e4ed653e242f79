"""One decoder layer over rows: fused for the Llama family, else the stock module.

The fused layer does what transformers' module does, in some 20 operations instead of 50: queries,
keys and values are one product, gate and up another; norms are one operation; rotary positions come
from tables made once a forward. It equals the module to 1e-5 of the logits in float32.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import rms_norm, scaled_dot_product_attention

from harness.engine.products import Product, joined

Rotary = tuple[Tensor, Tensor]  # cosine and sine, as `rotary` of the layers' class shapes them
Layer = Callable[..., Tensor]
CHOICES = ("fused", "stock")
# Attention and an MLP of gate, up and down, each behind an RMS norm and added to what enters;
# rotary positions over whole heads. Mistral has windows, Qwen2 biases, Qwen3 norms of heads.
_FAMILY = {f"{name}DecoderLayer" for name in ("Llama", "Mistral", "Qwen2", "Qwen3")}


class FusedLayer:
    """A layer of the Llama family, its products joined.

    ``index``: its place in the stack.
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
        """All of the layer, in the order in which they run."""
        return self.qkv, self.out, self.gate_up, self.down

    @staticmethod
    def rotary(cos: Tensor, sin: Tensor) -> Rotary:
        """Tables [B, T, 1, D] of transformers' [B, T, D]: the first half of the sine is negative,
        since turning takes (x, y) to (x cos - y sin, y cos + x sin).
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
        """States [B, T, H] after the layer, or after those of its ``halves``, attention and MLP,
        that are asked for.

        ``mask`` [B or 1, 1, T, S] is added to attention scores; without one a single row sees all
        that the cache returns, and several see each other causally.
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
        turned, value = heads.split((queries + keys, keys), dim=2)
        if self.head_norm is not None:
            weight, epsilon = self.head_norm
            turned = rms_norm(turned, (self.size,), None, epsilon) * weight
        cos, sin = rotary
        turned = torch.addcmul(turned * cos, turned.roll(self.size // 2, -1), sin)
        query, key = turned.split((queries, keys), dim=2)
        given = cache.update(key.transpose(1, 2), value.transpose(1, 2), self.index)
        return self.out(_attention(query, given, mask, self.scale))


class StockLayer:
    """transformers' module behind the same call; the reference."""

    def __init__(self, layer: Any) -> None:
        self._layer = layer

    @staticmethod
    def rotary(cos: Tensor, sin: Tensor) -> Rotary:
        """As transformers' modules take them."""
        return cos, sin

    def __call__(
        self,
        hidden: Tensor,
        mask: Tensor | None,
        rotary: Rotary,
        cache: Any,
        halves: tuple[bool, bool] | None = None,
    ) -> Tensor:
        """As :class:`FusedLayer`'s; ``halves`` need a layer whose parts have the usual names."""
        layer = self._layer
        given = {
            "attention_mask": mask,
            "position_embeddings": rotary,
            "past_key_values": cache,
        }
        if halves is None:
            whole: Tensor = layer(hidden, **given)
            return whole
        attention, mlp = halves
        if attention:
            hidden = hidden + layer.self_attn(layer.input_layernorm(hidden), **given)[0]
        if mlp:
            hidden = hidden + layer.mlp(layer.post_attention_layernorm(hidden))
        return hidden


def why_stock(model: Any, weights: str) -> str | None:
    """Why a model's layers cannot be fused; None where they can."""
    layers = model.model.layers
    kinds = {type(layer) for layer in layers}
    strange = [
        kind.__name__
        for kind in kinds
        if kind.__name__ not in _FAMILY or not kind.__module__.startswith("transformers.")
    ]
    if strange:
        return f"{strange[0]} is none of {', '.join(sorted(_FAMILY))}"
    if model.config._attn_implementation != "sdpa":
        return f"attention is {model.config._attn_implementation}"
    if weights != "full":
        return f"weights are {weights}"
    if any(hasattr(module, "_hf_hook") for module in layers.modules()):
        return "accelerate's hooks are on its modules"
    return None


def _head_norm(attention: Any, heads: tuple[int, ...]) -> tuple[Tensor, float] | None:
    """The weights [Hq + Hkv, D] of norms over single heads, where a model has such."""
    if not hasattr(attention, "q_norm"):
        return None
    norms = (attention.q_norm, attention.k_norm)
    parts = [norm.weight.detach().expand(n, -1) for norm, n in zip(norms, heads, strict=False)]
    return torch.cat(parts), attention.q_norm.variance_epsilon


def normed(hidden: Tensor, norm: tuple[Tensor, float] | None) -> Tensor:
    """States [.., H] behind an RMS norm of such weights [H] and epsilon, or as they are."""
    if norm is None:
        return hidden
    weight, epsilon = norm
    return rms_norm(hidden, weight.shape, weight, epsilon)


def _attention(query: Tensor, given: Sequence[Tensor], mask: Tensor | None, scale: float) -> Tensor:
    """[B, T, Hq * D] mixed values of queries [B, T, Hq, D]; each of the keys and values
    ``given``, [B, Hkv, S, D], serves Hq / Hkv heads.

    For one sequence key heads are the batch, and share their keys by a stride of 0: nothing is
    copied, and no kernel has to know of groups.
    """
    (batch, rows, heads, size), (key, value) = query.shape, given
    groups = heads // key.shape[1]
    alone = groups > 1 and batch == 1
    if alone:
        query = query.view(rows, -1, groups, size).permute(1, 2, 0, 3)
        key, value = (x.transpose(0, 1).expand(-1, groups, -1, -1) for x in (key, value))
    else:
        query = query.transpose(1, 2)
        if groups > 1:
            key, value = (x.repeat_interleave(groups, dim=1) for x in (key, value))
    causal = mask is None and rows > 1
    mixed = scaled_dot_product_attention(query, key, value, mask, is_causal=causal, scale=scale)
    if alone:
        return mixed.permute(2, 0, 1, 3).reshape(1, rows, -1)
    return mixed.transpose(1, 2).flatten(2)
