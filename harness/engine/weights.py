"""Target weights in fewer bits, by bitsandbytes: how they are loaded, and widened again.

Embeddings, norms and the head stay as they are; every other matrix is packed.
"""

import copy
import logging
from collections.abc import Iterator
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn
from transformers import BitsAndBytesConfig

from harness.errors import HarnessError

# int8: LLM.int8() (arXiv 2208.07339); nf4: the 4-bit NormalFloat of QLoRA (arXiv 2305.14314)
WEIGHTS = ("full", "int8", "nf4")
_LIBRARY = "bitsandbytes"
_LAYERS = ("Linear8bitLt", "Linear4bit")  # by name, so that the library may be missing


def loading(weights: str, dtype: torch.dtype) -> dict[str, Any]:
    """Arguments of ``from_pretrained`` for such weights; none for full ones.

    int8 uses the paper's threshold of 6, nf4 blocks of 64 with scales in float32.
    """
    if weights == "full":
        return {}
    if find_spec(_LIBRARY) is None:
        raise HarnessError(
            f"weights: '{weights}' needs {_LIBRARY}, which is not installed; expected it, by "
            "pip install -c constraints.txt -e '.[quantised]'"
        )
    # The library would warn at each product that inputs are rounded to float16.
    logging.getLogger(f"{_LIBRARY}.autograd._functions").setLevel(logging.ERROR)
    config = BitsAndBytesConfig(
        load_in_8bit=weights == "int8",
        load_in_4bit=weights == "nf4",
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=dtype,
    )
    return {"quantization_config": config}


def weights_of(model: Any) -> str:
    """Which of ``WEIGHTS`` a model was read with."""
    if getattr(model, "is_loaded_in_8bit", False):
        return "int8"
    return "nf4" if getattr(model, "is_loaded_in_4bit", False) else "full"


def library(weights: str) -> dict[str, str]:
    """Name and version of the library that multiplies by such weights; nothing for full ones."""
    return {} if weights == "full" else {_LIBRARY: version(_LIBRARY)}


def misshapen(model: nn.Module) -> list[tuple[str, list[int], list[int]]]:
    """Packed weights that have another shape than their layer, which transformers lets pass: name,
    actual shape, expected shape.
    """
    mismatches = []
    for name, layer in _packed(model):
        state = getattr(layer.weight, "quant_state", None)
        actual = list(layer.weight.shape if state is None else state.shape)
        expected = [layer.out_features, layer.in_features]
        if actual != expected:
            mismatches.append((f"{name}.weight", actual, expected))
    return mismatches


def multiply_alike(model: nn.Module) -> None:
    """Have nf4 multiply by the very numbers that its weights stand for, on every CPU.

    On a CPU with AVX512-BF16 the library would repack the weights at the first forward, multiply in
    bfloat16 whatever the dtype is, and pass no gradient on. On a CPU with AVX512 the library
    (0.50.2) misreads most matrices whose rows are no whole number of blocks.
    """
    for _, layer in _packed(model):
        if hasattr(layer, "support_avx512bf16_for_cpu"):
            layer.support_avx512bf16_for_cpu = False
            if layer.in_features % layer.weight.quant_state.blocksize:
                layer.forward = partial(_multiply, layer)


def _multiply(layer: Any, states: torch.Tensor) -> torch.Tensor:
    return nn.functional.linear(states, _numbers(layer), layer.bias)


def _numbers(layer: Any) -> torch.Tensor:
    """[out, in] the numbers that packed weights stand for: nf4's in the dtype they were packed
    from, int8's in float32.
    """
    # imported here, since the library may be missing
    from bitsandbytes.functional import dequantize_4bit
    from transformers.integrations.bitsandbytes import dequantize_bnb_weight

    if hasattr(layer, "state"):
        return dequantize_bnb_weight(layer.weight, layer.state)
    # As one long row: given several rows, the AVX512 code begins a new block at each of them.
    state = copy.copy(layer.weight.quant_state)
    state.shape = torch.Size([state.shape.numel()])
    numbers: torch.Tensor = dequantize_4bit(layer.weight.data, state)
    return numbers.view(layer.out_features, layer.in_features)


def scale_bytes(model: nn.Module) -> int:
    """Bytes of the scales that packed weights are multiplied by, which are no parameters."""
    return sum(_scales(layer).nbytes for _, layer in _packed(model))


def widened(module: nn.Module) -> Any:
    """A copy of a module in float32, its packed weights as the numbers that they stand for."""
    wide = copy.deepcopy(module)
    for name, layer in list(_packed(wide)):
        wide.set_submodule(name, _plain(layer))
    return wide.float()


def _plain(layer: Any) -> nn.Linear:
    plain = nn.Linear(layer.in_features, layer.out_features, bias=False, device="meta")
    plain.weight = nn.Parameter(_numbers(layer), requires_grad=False)
    plain.bias = layer.bias
    return plain


def _scales(layer: Any) -> torch.Tensor:
    if hasattr(layer, "state"):
        # The first forward moves the scales to the state.
        return layer.weight.SCB if layer.state.SCB is None else layer.state.SCB
    return layer.weight.quant_state.absmax


def _packed(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """Names and layers of packed weights."""
    return (pair for pair in module.named_modules() if type(pair[1]).__name__ in _LAYERS)
