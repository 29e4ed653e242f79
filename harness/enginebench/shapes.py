"""Targets of published sizes with random weights: what a step costs depends on shapes alone."""

import torch
from transformers import AutoModelForCausalLM

from harness.engine.target import Target
from harness.errors import HarnessError
from harness.models import use_device
from harness.pretrain.train import Shape, llama_config

# Rotary positions have no weights, so contexts may be longer than LLaMA-2's 4096.
POSITIONS = 8192
# 7b and 13b: LLaMA-2 and Vicuna (config.json of meta-llama/Llama-2-7b-hf and -13b-hf). The others
# are for CPUs: 4 M parameters, 135 M (config.json of HuggingFaceTB/SmolLM2-135M), 59 M and 271 M.
SHAPES = {
    "tiny": Shape(6, 256, 8, 512, 1024, POSITIONS, tied=False),
    "135m": Shape(30, 576, 9, 1536, 49152, POSITIONS, keys=3),
    "small": Shape(8, 512, 8, 1408, 32000, POSITIONS, tied=False),
    "medium": Shape(16, 1024, 16, 2816, 32000, POSITIONS, tied=False),
    "7b": Shape(32, 4096, 32, 11008, 32000, POSITIONS, tied=False),
    "13b": Shape(40, 5120, 40, 13824, 32000, POSITIONS, tied=False),
}


def find_shape(name: str) -> Shape:
    """The shape called ``name``."""
    if name not in SHAPES:
        raise HarnessError(f"shape: '{name}', expected one of {', '.join(SHAPES)}")
    return SHAPES[name]


def random_target(shape: Shape, dtype: str, device: str, seed: int = 0) -> Target:
    """A Llama target of ``shape``, its weights made on ``device`` in ``dtype`` from the start.

    Weights are normally distributed, as an untrained model's are.
    """
    use_device(device)
    torch.manual_seed(seed)
    try:
        with torch.device(device):
            model = AutoModelForCausalLM.from_config(
                llama_config(shape), dtype=getattr(torch, dtype), attn_implementation="sdpa"
            )
        return Target(model)
    except torch.OutOfMemoryError as error:
        raise HarnessError(f"weights of {shape} in {dtype}: {str(error).split('. ')[0]}") from None
