"""Chimera's trained parts: the trigram encoder, the full-context layer, and the heads.

Source: Zeng et al. (arXiv 2402.15758, section 3) and the authors' code (``Chimera_model.py``).
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from harness.engine import Target
from harness.errors import HarnessError
from methods.shared.block import Block
from methods.shared.choices import CONFIG
from methods.shared.own_layer import LayerDecoder, new_layer, packed
from methods.shared.weights import load_strictly, read_parts, write_parts

WEIGHTS = "chimera.safetensors"


class Net(nn.Module):
    """The net of K steps. ``block`` and ``narrow`` turn the embeddings [3H] of three tokens into a
    state [H], ``layer`` lets it attend to the text's final states and the trigrams before it, and
    ``heads`` [V, 2H] read the final state and the layer's output. At first each half of a head is
    the target's head. Float32.
    """

    def __init__(self, target: Target, count: int, *, shared: bool = False) -> None:
        super().__init__()
        size, vocab = target.hidden_size, target.model.lm_head.weight.detach().float()
        self.count, self.shared = count, shared
        self.block = Block(3 * size, 3 * size)
        self.narrow = nn.Linear(3 * size, size, bias=False)
        self.layer = new_layer(target)
        self.heads = nn.ModuleList(
            [] if shared else [nn.Linear(2 * size, len(vocab), bias=False) for _ in range(count)]
        )
        with torch.no_grad():
            for head in self.heads:
                assert isinstance(head, nn.Linear)
                head.weight.copy_(torch.cat([vocab, vocab], dim=1))

    def trigrams(self, embedded: Tensor) -> Tensor:
        """[.., H] states of three tokens, from their embeddings [.., 3H]."""
        states: Tensor = self.narrow(self.block(embedded.float()))
        return states

    def logits(self, target: Target, step: int, final: Tensor, outputs: Tensor) -> Tensor:
        """[.., V] of ``step`` (1-based) from normed final states and layer outputs [.., H]."""
        if self.shared:
            shared: Tensor = target.head((final + outputs).to(target.dtype))
            return shared
        own: Tensor = self.heads[step - 1](torch.cat([final, outputs], dim=-1))
        return own


class NetDecoder:
    """The net as decoding uses it: on packed weights, in the target's dtype."""

    def __init__(self, target: Target, net: Net) -> None:
        self._target, self.count = target, net.count
        self._wide, self._narrow = packed(net.block.linear, target), packed(net.narrow, target)
        self._heads = [packed(head, target) for head in net.heads]
        self.layer = LayerDecoder(target, net.layer)
        self._bytes = sum(p.bytes for p in (self._wide, self._narrow, *self._heads))

    @property
    def bytes(self) -> int:
        """Bytes of weights, packed copies, keys and values."""
        return self._bytes + self.layer.bytes

    def trigrams(self, embedded: Tensor) -> Tensor:
        """As :meth:`Net.trigrams`."""
        return self._narrow(embedded + silu(self._wide(embedded)))

    def logits(self, step: int, final: Tensor, outputs: Tensor) -> Tensor:
        """As :meth:`Net.logits`."""
        if not self._heads:
            shared: Tensor = self._target.head(final + outputs)
            return shared
        return self._heads[step - 1](torch.cat([final, outputs], dim=-1))


def save(net: Net, folder: Path, provenance: Mapping[str, object]) -> None:
    """Write weights (float32 safetensors) and a config with provenance."""
    head = "shared" if net.shared else "own"
    facts = {"method": "chimera", "heads": net.count, "head": head}
    write_parts(net, folder / WEIGHTS, {**facts, **provenance})


def load(folder: Path, target: Target) -> Net:
    """Read what :func:`save` wrote; refuses weights of another target, and changed ones."""
    expected = {"target_hash": target.weights_hash}
    config, tensors = read_parts(folder / WEIGHTS, "Chimera", expected)
    count, shared = config.get("heads"), config.get("head") == "shared"
    saved = len({name.split(".")[1] for name in tensors if name.startswith("heads.")})
    if not isinstance(count, int) or isinstance(count, bool) or (not shared and count != saved):
        raise HarnessError(f"{folder / CONFIG}: heads is {count!r}, expected {saved}")
    net = Net(target, count, shared=shared)
    load_strictly(net, tensors, folder / WEIGHTS)
    return net.to(target.device)
