"""Hydra's heads: blocks over the final state and the drafted path, then a vocabulary matrix.

Source: Ankner et al. (arXiv 2402.05109, sections 3.1 and 5) and the authors' code (hydra_heads,
``mlp`` and ``prefix_mlp``). What differs here: an untrained head gives what the target's own head
gives for the state, heads have no dropout and weight decay, and blocks share no weights.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from harness.engine import Target
from harness.errors import HarnessError
from methods.shared.block import Block
from methods.shared.choices import CONFIG
from methods.shared.own_layer import new_layer
from methods.shared.weights import load_strictly, read_parts, write_parts

WEIGHTS = "hydra_heads.safetensors"


class Prefix(nn.Module):
    """Hydra++'s decoder layer over the normed final states of the text, and a norm behind it.
    Untrained, its outputs are about its inputs.
    """

    def __init__(self, target: Target) -> None:
        super().__init__()
        self.layer = new_layer(target)
        self.norm = nn.RMSNorm(target.hidden_size, eps=target.norm.variance_epsilon)
        layer: Any = self.layer
        nn.init.zeros_(layer.self_attn.o_proj.weight)
        nn.init.zeros_(layer.mlp.down_proj.weight)
        # The target's norm gives states of about the size of its weights.
        nn.init.constant_(
            self.norm.weight, float(target.norm.weight.detach().float().square().mean() ** 0.5)
        )


class Heads(nn.Module):
    """K heads. Head k (1-based) predicts the token k + 1 places after a final state's, from that
    state and the embeddings of the k tokens between. ``vocab_projection`` [V, H] is the target's:
    the initial value of each head's own matrix or, with ``shared``, the one matrix of all. With a
    ``prefix``, heads read its output instead of the state. Float32.
    """

    def __init__(
        self,
        count: int,
        layers: int,
        vocab_projection: Tensor,
        *,
        shared: bool = False,
        prefix: Prefix | None = None,
    ) -> None:
        super().__init__()
        vocab, size = vocab_projection.shape
        self.count, self.layers, self.prefix = count, layers, prefix
        self.blocks = nn.ModuleList(
            nn.Sequential(
                Block((1 + step) * size, size), *(Block(size, size) for _ in range(layers - 1))
            )
            for step in range(1, count + 1)
        )
        self.shared = vocab_projection if shared else None
        self.vocab = nn.ModuleList(
            [] if shared else [nn.Linear(size, vocab, bias=False) for _ in range(count)]
        )
        with torch.no_grad():
            for projection in self.vocab:
                assert isinstance(projection, nn.Linear)
                projection.weight.copy_(vocab_projection)

    def state(self, step: int, inputs: Tensor) -> Tensor:
        """[.., H] state of head ``step`` (1-based) before its matrix, from [.., (1 + step) * H]."""
        state: Tensor = self.blocks[step - 1](inputs.float())
        return state

    def forward(self, step: int, inputs: Tensor) -> Tensor:
        """[.., V] logits of head ``step``, float32."""
        state = self.state(step, inputs)
        if self.shared is not None:
            return linear(state, self.shared.float())
        logits: Tensor = self.vocab[step - 1](state)
        return logits


def save(heads: Heads, folder: Path, provenance: Mapping[str, object]) -> None:
    """Write weights (float32 safetensors) and a config with sizes and provenance."""
    facts = {
        "method": "hydra",
        "heads": heads.count,
        "layers": heads.layers,
        "head": "own" if heads.shared is None else "shared",
    }
    write_parts(heads, folder / WEIGHTS, {**facts, **provenance})


def load(folder: Path, target: Target) -> Heads:
    """Read what :func:`save` wrote; refuses weights of another target, and changed ones."""
    expected = {"target_hash": target.weights_hash}
    config, tensors = read_parts(folder / WEIGHTS, "Hydra", expected)
    # Checked before any head is made: a wrong number could ask for more than the memory holds.
    count = len({name.split(".")[1] for name in tensors if name.startswith("blocks.")})
    if config.get("heads") != count or isinstance(config.get("heads"), bool):
        raise HarnessError(f"{folder / CONFIG}: heads is {config.get('heads')!r}, expected {count}")
    layers = len({name.split(".")[2] for name in tensors if name.startswith("blocks.0.")})
    heads = Heads(
        count,
        layers,
        target.model.lm_head.weight.detach().float(),
        shared=config.get("head") == "shared",
        prefix=Prefix(target) if "prefix.norm.weight" in tensors else None,
    )
    load_strictly(heads, tensors, folder / WEIGHTS)
    return heads.to(target.device)
