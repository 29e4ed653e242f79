"""Tiny random targets of the four supported architectures, and their files as hubs hold them."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
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
_MODELS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "llama": (LlamaForCausalLM, LlamaConfig, {"num_key_value_heads": 4}),
    "llama_gqa": (LlamaForCausalLM, LlamaConfig, {"num_key_value_heads": 2}),
    "llama_biases": (LlamaForCausalLM, LlamaConfig, {"attention_bias": True, "mlp_bias": True}),
    "llama_tied": (LlamaForCausalLM, LlamaConfig, {"tie_word_embeddings": True}),
    "mistral": (
        MistralForCausalLM,
        MistralConfig,
        {"num_key_value_heads": 2, "sliding_window": 12},
    ),
    "qwen2": (Qwen2ForCausalLM, Qwen2Config, {"num_key_value_heads": 2}),
    "qwen3": (Qwen3ForCausalLM, Qwen3Config, {"num_key_value_heads": 2, "head_dim": 12}),
}
ARCHITECTURES = ("llama", "mistral", "qwen2", "qwen3")


@lru_cache
def tiny_model(
    name: str, attention: str = "sdpa", seed: int = 2, vocab: int = VOCAB
) -> PreTrainedModel:
    """llama: MHA, or as its name says; mistral: GQA with a window of 12; qwen2: GQA, biases; qwen3:
    own head size.
    """
    # Some tests run in inference mode; what they build first must serve those that train.
    with torch.inference_mode(False):
        return _build(name, attention, seed, {**_SIZE, "vocab_size": vocab})


def _build(name: str, attention: str, seed: int, size: dict[str, Any]) -> PreTrainedModel:
    torch.manual_seed(seed)
    kind, config, options = _MODELS[name]
    model: Any = kind(config(**size, **options))
    with torch.no_grad():
        # The default initialisation is so small that every model would repeat one token.
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(6.0)
            elif parameter.ndim == 1:
                parameter.add_(0.2 * torch.randn_like(parameter))
    model.config._attn_implementation = attention
    return model.eval()


def save_tokenizer(folder: Path, template: str = "") -> PreTrainedTokenizerFast:
    """A tokenizer of VOCAB words, w0 to w58 with <s> and </s>, written into ``folder``."""
    words = ["<s>", "</s>", *(f"w{i}" for i in range(VOCAB - 2))]
    own = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="w0"))
    own.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made = PreTrainedTokenizerFast(tokenizer_object=own, bos_token="<s>", eos_token="</s>")
    if template:
        made.chat_template = template
    made.save_pretrained(folder)
    return made


def save_as_bin(model: PreTrainedModel, folder: Path, dtype: torch.dtype) -> dict[str, Path]:
    """Two ``.bin`` shards and their index, as Vicuna ships; returns the shard of each weight."""
    folder.mkdir(parents=True, exist_ok=True)
    model.config.save_pretrained(folder)
    state = {name: value.to(dtype) for name, value in model.state_dict().items()}
    # Checkpoints of that time hold every layer's rotary buffer.
    for layer in range(model.config.num_hidden_layers):
        state[f"model.layers.{layer}.self_attn.rotary_emb.inv_freq"] = torch.ones(4)
    names = sorted(state)
    shards = {}
    for number, part in enumerate((names[::2], names[1::2]), start=1):
        file = folder / f"pytorch_model-{number:05}-of-00002.bin"
        torch.save({name: state[name] for name in part}, file)
        shards |= dict.fromkeys(part, file)
    index = {"metadata": {}, "weight_map": {name: file.name for name, file in shards.items()}}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    return shards
