"""Tiny random targets of the four supported architectures."""

from functools import lru_cache

import torch
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)
from transformers.modeling_utils import PreTrainedModel

VOCAB = 61
_SIZE = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "max_position_embeddings": 512,
    "eos_token_id": None,
    "bos_token_id": None,
    "pad_token_id": None,
}
ARCHITECTURES = ("llama", "mistral", "qwen2", "qwen3")


@lru_cache
def tiny_model(name: str, attention: str = "sdpa", seed: int = 2) -> PreTrainedModel:
    """llama: MHA; mistral: GQA with a window of 12; qwen2: GQA, biases; qwen3: own head size."""
    # Some tests run in inference mode; what they build first must serve those that train.
    with torch.inference_mode(False):
        return _build(name, attention, seed)


def _build(name: str, attention: str, seed: int) -> PreTrainedModel:
    torch.manual_seed(seed)
    if name == "llama":
        model = LlamaForCausalLM(LlamaConfig(**_SIZE, num_key_value_heads=4))
    elif name == "llama_gqa":
        model = LlamaForCausalLM(LlamaConfig(**_SIZE, num_key_value_heads=2))
    elif name == "mistral":
        model = MistralForCausalLM(MistralConfig(**_SIZE, num_key_value_heads=2, sliding_window=12))
    elif name == "qwen2":
        model = Qwen2ForCausalLM(Qwen2Config(**_SIZE, num_key_value_heads=2))
    elif name == "qwen3":
        model = Qwen3ForCausalLM(Qwen3Config(**_SIZE, num_key_value_heads=2, head_dim=12))
    else:
        raise ValueError(name)
    with torch.no_grad():
        # The default initialisation is so small that every model would repeat one token.
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(6.0)
            elif parameter.ndim == 1:
                parameter.add_(0.2 * torch.randn_like(parameter))
    model.config._attn_implementation = attention
    return model.eval()
