"""Medusa's heads: residual blocks and a vocabulary projection for each token ahead.

Source: Cai et al., "Medusa" (arXiv 2401.10774, section 2.1.1). Files are those of the upstream
project: ``medusa_lm_head.safetensors`` or ``.pt`` beside a ``config.json``.
"""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, silu

from harness.engine.target import Target
from harness.errors import HarnessError
from harness.files import read_object, sha256_file
from methods.shared.block import Block
from methods.shared.weights import load_strictly, read_published, write_parts

WEIGHTS, PICKLED, CONFIG = "medusa_lm_head.safetensors", "medusa_lm_head.pt", "config.json"


class Heads(nn.ModuleList):
    """K heads; head i (0-based) predicts, from the final state at position p, the token p + 2 + i.

    Each head has ``layers`` residual blocks and a vocabulary matrix of its own, which starts as the
    target's ``vocab_projection`` [V, H]; if ``shared``, all use that matrix itself, which is not
    trained. Weights are kept in float32. An untrained block is the identity: upstream leaves its
    bias random, which shifts every state before training has begun.
    """

    def __init__(
        self, count: int, layers: int, vocab_projection: Tensor, *, shared: bool = False
    ) -> None:
        vocab, size = vocab_projection.shape
        super().__init__(
            nn.Sequential(
                *(Block(size, size) for _ in range(layers)),
                *([] if shared else [nn.Linear(size, vocab, bias=False)]),
            )
            for _ in range(count)
        )
        self.count, self.layers = count, layers
        self.shared = vocab_projection if shared else None
        if shared:
            return
        with torch.no_grad():
            for head in self:
                assert isinstance(head, nn.Sequential)
                projection: Any = head[-1]
                projection.weight.copy_(vocab_projection)

    def forward(self, hidden: Tensor) -> Tensor:
        """Normed final states [B, R, H] -> logits [B, K, R, V], float32."""
        outputs = torch.stack([head(hidden.float()) for head in self], dim=1)
        return outputs if self.shared is None else linear(outputs, self.shared.float())


class FusedHeads:
    """Heads as decoding uses them: on a single row, with one batched product per layer."""

    def __init__(self, heads: Heads, target: Target) -> None:
        modules: list[Any] = list(heads)
        device, dtype = target.device, target.dtype

        def stacked(tensors: list[Tensor]) -> Tensor:
            return torch.stack(tensors).detach().to(device, dtype)

        self._blocks = [
            (
                stacked([head[layer].linear.weight.T for head in modules]),
                stacked([head[layer].linear.bias for head in modules])[:, None],
            )
            for layer in range(heads.layers)
        ]
        self._shared = target.head if heads.shared is not None else None
        self._vocab: Tensor | None = None
        if self._shared is None:
            self._vocab = stacked([head[-1].weight.T for head in modules])
        self.count = heads.count

    def first(self, count: int) -> "FusedHeads":
        """The first ``count`` heads, as views of the same memory."""
        view = copy.copy(self)
        view._blocks = [(weight[:count], bias[:count]) for weight, bias in self._blocks]
        view._vocab = None if self._vocab is None else self._vocab[:count]
        view.count = count
        return view

    @property
    def bytes(self) -> int:
        """Bytes of the weights, without those that belong to the target."""
        vocab = 0 if self._vocab is None else self._vocab.nbytes
        return vocab + sum(w.nbytes + b.nbytes for w, b in self._blocks)

    def __call__(self, hidden: Tensor) -> Tensor:
        """Normed final state [1, H] -> logits [K, V]."""
        state = hidden.expand(self.count, 1, -1)
        for weight, bias in self._blocks:
            state = state + silu(torch.baddbmm(bias, state, weight))
        if self._vocab is None:
            assert self._shared is not None
            return self._shared(state[:, 0])
        return torch.bmm(state, self._vocab)[:, 0]


def save(heads: Heads, folder: Path, base_model: str, provenance: Mapping[str, object]) -> None:
    """Write weights (float32) and config in upstream's format, with provenance beside it."""
    config = {
        "medusa_num_heads": heads.count,
        "medusa_num_layers": heads.layers,
        **({} if heads.shared is None else {"medusa_head": "shared"}),
        "base_model_name_or_path": base_model,
        **provenance,
    }
    write_parts(heads, folder / WEIGHTS, config)


def load_heads(target: Target, folder: Path) -> Heads:
    """The heads that a training wrote to ``folder``, in float32 as they were trained."""
    return load(folder, target.model.lm_head.weight.detach(), target.weights_hash)


def fused_heads(target: Target, folder: Path) -> FusedHeads:
    """The heads of :func:`load_heads` in the form in which decoding uses them."""
    return FusedHeads(load_heads(target, folder), target)


def load(
    folder: Path,
    vocab_projection: Tensor,
    target_hash: str | None = None,
    count: int | None = None,
) -> Heads:
    """Read heads, ours or published; count and shapes must be those of config and target.

    ``vocab_projection`` [V, H] is the target's; ``target_hash`` identifies its weights and is
    compared where the config names one, as ours do. ``count`` replaces the config's number of
    heads, since published configs say 2 beside files of 5.
    """
    config = read_object(folder / CONFIG)
    tensors = read_published(folder, (WEIGHTS, PICKLED))
    if count is not None:
        total = len({name.split(".")[0] for name in tensors})
        if total != count:
            raise HarnessError(f"{folder}: {total} heads, expected {count} (methods.medusa.heads)")
        config["medusa_num_heads"] = count
    # Checked before heads are made: a wrong number could ask for more memory than there is.
    shared = config.get("medusa_head") == "shared"
    for key, place in (("medusa_num_heads", 0), ("medusa_num_layers", 1)):
        # the last layer of a head is its vocabulary matrix, unless that is shared
        expected = len({name.split(".")[place] for name in tensors if name.count(".") > 1})
        expected -= place if not shared else 0
        if config.get(key) != expected or isinstance(config.get(key), bool):
            raise HarnessError(
                f"{folder / CONFIG}: {key} is {config.get(key)!r}, expected {expected}, as many as "
                "the file holds tensors for"
            )
    trained_for = config.get("target_hash")
    if target_hash is not None and trained_for is not None and trained_for != target_hash:
        raise HarnessError(f"{folder}: heads of target {trained_for}, expected {target_hash}")
    sizes = config["medusa_num_heads"], config["medusa_num_layers"]
    heads = Heads(*sizes, vocab_projection.float(), shared=shared)
    if "sha256" in config and (folder / WEIGHTS).is_file():
        file_hash = sha256_file(folder / WEIGHTS)
        if file_hash != config["sha256"]:
            raise HarnessError(
                f"{folder / WEIGHTS}: SHA-256 is {file_hash}, expected {config['sha256']}"
            )
    load_strictly(heads, tensors, folder)
    return heads
