"""EAGLE's only trained parts: a linear map of (embedding, feature) pairs, then a decoder layer.

A feature is the target's final state behind its final norm: what its head reads. Source: Li et al.
(arXiv 2401.15077, section 4.1) and the authors' code (``cnets1.py``), which names the tensors so.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from harness.engine import Target, widened
from harness.files import read_json
from methods.shared.choices import CONFIG
from methods.shared.own_layer import LayerDecoder, new_layer, packed
from methods.shared.weights import load_strictly, read_parts, read_published, write_parts

WEIGHTS = "eagle.safetensors"
PUBLISHED = ("model.safetensors", "pytorch_model.bin")


class Net(nn.Module):
    """``fc`` [H, 2H] and one decoder layer without a norm before its attention. Float32."""

    def __init__(self, target: Target) -> None:
        super().__init__()
        size = target.hidden_size
        self.fc = nn.Linear(2 * size, size)
        self.layers = nn.ModuleList([new_layer(target, first_norm=False)])

    @torch.no_grad()
    def start_from(self, target: Target) -> None:
        """Initialise the layer as the target's last one, and ``fc`` to pass the feature alone."""
        size = target.hidden_size
        self.fc.weight.zero_()
        self.fc.weight[:, size:].copy_(torch.eye(size))
        self.fc.bias.zero_()
        last = widened(target.layers[-1]).state_dict()
        parameters = self.layers[0].state_dict()
        self.layers[0].load_state_dict({name: last[name] for name in parameters})


class NetDecoder:
    """The net as decoding uses it: on packed weights, in the target's dtype."""

    def __init__(self, target: Target, net: Net) -> None:
        self._target = target
        self._fc = packed(net.fc, target)
        self.layer = LayerDecoder(target, net.layers[0])

    @property
    def bytes(self) -> int:
        """Bytes of weights, packed copies, keys and values."""
        return self._fc.bytes + self.layer.bytes

    def pairs(self, features: Tensor, tokens: Tensor) -> Tensor:
        """[T, H] inputs of the layer, from ``features`` [T, H] and the tokens [T] after them."""
        embedded = self._target.embed_batch(tokens[None])[0]
        return self._fc(torch.cat([embedded, features], dim=-1))


def save(net: Net, folder: Path, provenance: Mapping[str, object]) -> None:
    """Write weights (float32 safetensors) and a config with provenance."""
    write_parts(net, folder / WEIGHTS, {"method": "eagle", **provenance})


def load(target: Target, folder: Path) -> Net:
    """Read what :func:`save` wrote; refuses weights of another target, and changed ones."""
    expected = {"target_hash": target.weights_hash}
    _, tensors = read_parts(folder / WEIGHTS, "EAGLE", expected)
    return _net(target, tensors, folder / WEIGHTS)


def load_published(target: Target, folder: Path) -> Net:
    """Read weights in the authors' format; their embeddings are the target's, and are dropped."""
    tensors = read_published(folder, PUBLISHED)
    tensors.pop("embed_tokens.weight", None)
    if read_json(folder / CONFIG).get("bias") is False:
        tensors["fc.bias"] = torch.zeros(target.hidden_size)
    return _net(target, {name: value.float() for name, value in tensors.items()}, folder)


def _net(target: Target, tensors: dict[str, Tensor], file: Path) -> Net:
    net = Net(target)
    load_strictly(net, tensors, file)
    return net.to(target.device)
