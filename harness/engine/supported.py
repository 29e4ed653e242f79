"""What the engine needs of a model's class and config, before anything of the model runs."""

from typing import Any

import torch

from harness.errors import HarnessError


def require_supported(model: Any, body: Any) -> None:
    """Refuse a model that the engine cannot run, naming what it lacks or does otherwise."""
    kind = model.config.model_type
    parts = ("layers", "embed_tokens", "norm", "rotary_emb")
    missing = [f"model.{part}" for part in parts if not hasattr(body, part)]
    missing += [] if hasattr(model, "lm_head") else ["lm_head"]
    if missing:
        raise HarnessError(
            f"model type '{kind}': no {', '.join(missing)}; expected a decoder-only model with "
            "rotary positions, like llama, mistral, qwen2 or qwen3"
        )
    rope = getattr(model.config, "rope_parameters", None) or {}
    if rope.get("rope_type", "default") in ("dynamic", "longrope"):
        raise HarnessError(
            f"model type '{kind}': rope_type '{rope['rope_type']}' rescales with the length of the "
            "batch, so draft rows would change committed ones; expected a static rope type"
        )
    kinds = set(getattr(model.config, "layer_types", None) or [])
    unknown = kinds - {"full_attention", "sliding_attention"}
    if unknown:
        raise HarnessError(
            f"model type '{kind}': layer type '{sorted(unknown)[0]}' takes no tree mask; expected "
            "full_attention or sliding_attention"
        )
    if model.config._attn_implementation not in ("sdpa", "eager"):
        raise HarnessError(
            f"attention '{model.config._attn_implementation}': expected sdpa or eager, which take "
            "4-D masks"
        )


def layer_devices(body: Any) -> list[torch.device]:
    """The device of each layer."""
    return [next(layer.parameters()).device for layer in body.layers]


def kv_shape(config: Any) -> tuple[int, int]:
    """Number of key/value heads, and head size."""
    heads = config.num_attention_heads
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    return getattr(config, "num_key_value_heads", None) or heads, head_dim


def attention_windows(config: Any, layers: int) -> list[int | None]:
    """Attention window of each layer, None where it sees everything."""
    window = getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None)
    if kinds is None:
        return [window] * layers
    return [window if kind == "sliding_attention" else None for kind in kinds]
