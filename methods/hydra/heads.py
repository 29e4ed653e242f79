"""Hydra's heads: blocks over the final state and the drafted path, a vocabulary matrix behind them.

Source: Ankner et al. (arXiv 2402.05109, section 3.1) and the authors' code (hydra_heads, ``mlp``).
Ours is the start: an untrained head says what the target's own head says of the state.
"""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import linear, silu

from harness.errors import HarnessError
from harness.files import checked, read_json, replacing, sha256_file, write_json
from methods.shared.weights import load_strictly, read_tensors

WEIGHTS, CONFIG = "hydra_heads.safetensors", "config.json"


class Block(nn.Module):
    """Sx + SiLU(Wx + b), [.., D] -> [.., H]; S is the identity where D is H, else it is learnt and
    starts by taking the first H numbers. W and b start at zero.
    """

    def __init__(self, wide: int, size: int) -> None:
        super().__init__()
        self.linear = nn.Linear(wide, size)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        self.skip: nn.Linear | None = None
        if wide != size:
            self.skip = nn.Linear(wide, size, bias=False)
            nn.init.eye_(self.skip.weight)

    def forward(self, given: Tensor) -> Tensor:
        """[.., D] -> [.., H]."""
        kept = given if self.skip is None else self.skip(given)
        made: Tensor = kept + silu(self.linear(given))
        return made


class Heads(nn.Module):
    """K heads; head k (1-based) predicts the token k + 1 behind a final state, from that state and
    the embeddings of the k tokens between. ``vocab_projection`` [V, H] is the target's: the start
    of each head's own matrix, or with ``shared`` the one that all read. Float32.
    """

    def __init__(
        self, count: int, layers: int, vocab_projection: Tensor, *, shared: bool = False
    ) -> None:
        super().__init__()
        vocab, size = vocab_projection.shape
        self.count, self.layers = count, layers
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

    def state(self, step: int, given: Tensor) -> Tensor:
        """[.., H] what head ``step`` (1-based) makes of [.., (1 + step) * H], float32."""
        made: Tensor = self.blocks[step - 1](given.float())
        return made

    def forward(self, step: int, given: Tensor) -> Tensor:
        """[.., V] logits of head ``step``, float32."""
        state = self.state(step, given)
        if self.shared is not None:
            return linear(state, self.shared.float())
        logits: Tensor = self.vocab[step - 1](state)
        return logits


def save(heads: Heads, folder: Path, provenance: dict[str, Any]) -> None:
    """Write weights (float32 safetensors) and a config with sizes and provenance."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: value.contiguous() for name, value in heads.state_dict().items()}
    with replacing(folder / WEIGHTS) as temporary:
        save_file(tensors, temporary)
    config = {
        "method": "hydra",
        "heads": heads.count,
        "layers": heads.layers,
        "head": "own" if heads.shared is None else "shared",
        "sha256": sha256_file(folder / WEIGHTS),
        **provenance,
    }
    write_json(folder / CONFIG, config)


def load(folder: Path, vocab_projection: Tensor, target_hash: str | None = None) -> Heads:
    """Read what :func:`save` wrote; refuses weights of another target, and changed ones."""
    config = checked(dict[str, Any], read_json(folder / CONFIG), str(folder / CONFIG))
    wanted = {"sha256": sha256_file(folder / WEIGHTS)}
    if target_hash is not None:
        wanted["target_hash"] = target_hash
    for key, value in wanted.items():
        if config.get(key) != value:
            raise HarnessError(f"{folder}: Hydra {key} is {config.get(key)}, expected {value}")
    tensors = read_tensors(folder / WEIGHTS)
    # Before any is made: a wrong number could ask for more than the memory holds.
    held = len({name.split(".")[1] for name in tensors if name.startswith("blocks.")})
    if config.get("heads") != held or isinstance(config.get("heads"), bool):
        raise HarnessError(f"{folder / CONFIG}: heads is {config.get('heads')!r}, expected {held}")
    layers = len({name.split(".")[2] for name in tensors if name.startswith("blocks.0.")})
    shared = config.get("head") == "shared"
    heads = Heads(held, layers, vocab_projection.float(), shared=shared)
    load_strictly(heads, tensors, folder / WEIGHTS)
    return heads
