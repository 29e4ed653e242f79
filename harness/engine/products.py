"""Matrix products of the engine: a few rows times a weight, as fast as the device can.

A step multiplies a handful of rows, so it takes at least the time of reading the weights. On CPUs
torch's plain product takes up to three times that time, be it for one row or for eight. oneDNN,
which is part of torch, comes near it for up to eight rows or so, with weights that it has laid out
once ("packed"); torch.compile's freezing uses the same operations. A packed weight is a copy.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from harness.errors import HarnessError

_OPERATIONS = torch.ops.mkldnn
_ROWS = 16  # number of rows that weights are packed for; a pack serves any number
_TOLERANCE = 1e-4  # of the packed product, as a share of the plain one's range


def kind(device: torch.device, dtype: torch.dtype) -> str:
    """``onednn`` where products run on packed weights, else ``plain``: torch's own product.

    Float32 weights are packed on a CPU whose torch was built with oneDNN. In half precision torch
    calls oneDNN, or the GPU's library, by itself.
    """
    packs = (
        device.type == "cpu"
        and dtype == torch.float32
        and torch.backends.mkldnn.is_available()
        and hasattr(_OPERATIONS, "_reorder_linear_weight")
    )
    return "onednn" if packs else "plain"


class Product:
    """Maps x [.., K] to x W^T + b [.., N], for a frozen ``weight`` [N, K] and ``bias`` [N] or None.

    Gradients flow to x alone, through the plain weight, since packed products have none. Raises
    HarnessError where the packed product differs from the plain one.
    """

    __slots__ = ("bias", "packed", "weight")

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self.weight = weight.detach()
        self.bias = None if bias is None else bias.detach()
        self.packed: Tensor | None = None
        if kind(weight.device, weight.dtype) == "onednn":
            self.packed = _OPERATIONS._reorder_linear_weight(self.weight.contiguous(), _ROWS)
            self._check()

    @property
    def packed_bytes(self) -> int:
        """Bytes of the packed copy."""
        return 0 if self.packed is None else self.weight.nbytes

    @property
    def bytes(self) -> int:
        """Bytes of the weight, the bias and the packed copy."""
        bias = 0 if self.bias is None else self.bias.nbytes
        return self.weight.nbytes + bias + self.packed_bytes

    def __call__(self, rows: Tensor) -> Tensor:
        """The product [.., N] of rows [.., K]."""
        if self.packed is None or rows.requires_grad:
            return nn.functional.linear(rows, self.weight, self.bias)
        product: Tensor = _OPERATIONS._linear_pointwise(
            rows, self.packed, self.bias, "none", [], ""
        )
        return product

    @torch.inference_mode()
    def _check(self) -> None:
        """Refuse a packed product that differs from the plain one: the library may err on a machine
        that its authors did not have.
        """
        probe = torch.linspace(-1, 1, 3 * self.weight.shape[1]).view(3, -1).sin_()
        plain = nn.functional.linear(probe, self.weight, self.bias)
        if not bool(plain.isfinite().all()):
            return  # NaN or infinite weights, which the check of the model's logits reports
        off = float((self(probe) - plain).abs().max() / plain.abs().max().clamp_min(1e-30))
        if not off <= _TOLERANCE:
            raise HarnessError(
                f"oneDNN's product of a matrix {list(self.weight.shape)} is off by {off:.2g} of "
                f"its range, expected <= {_TOLERANCE:.0e}; layers: stock does without it"
            )


def joined(*layers: nn.Linear) -> Product:
    """One product that gives the concatenated outputs of several linear layers.

    The layers' own weights become parts of the joined weight, so that none is held twice.
    """
    weights = [layer.weight.detach() for layer in layers]
    whole = _side_by_side(weights)
    if whole is None:
        # If the layers' weights are ordinary tensors, the joined one must be as well, even if the
        # caller is in inference mode: otherwise the model could no longer be copied.
        with torch.inference_mode(weights[0].is_inference()), torch.no_grad():
            whole = torch.cat(weights)
        parts = whole.split([len(weight) for weight in weights])
        for layer, part in zip(layers, parts, strict=True):
            layer.weight.data = part
    biases = [layer.bias for layer in layers]
    bias = None if biases[0] is None else torch.cat([layer_bias.detach() for layer_bias in biases])
    return Product(whole, bias)


def _side_by_side(weights: Sequence[Tensor]) -> Tensor | None:
    """The joined matrix, if the weights are parts of one already; else None."""
    first, rows = weights[0], 0
    for weight in weights:
        same = weight.untyped_storage().data_ptr() == first.untyped_storage().data_ptr()
        if not same or weight.storage_offset() != first.storage_offset() + rows * first.shape[1]:
            return None
        rows += len(weight)
    return first.as_strided((rows, first.shape[1]), first.stride())
