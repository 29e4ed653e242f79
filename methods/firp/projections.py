"""FIRP's trained parameters: one linear map per future step, and how they are stored on disk.

Source: Wu et al., "FIRP: Faster LLM inference via future intermediate representation prediction"
(arXiv 2410.20488). Details of the paper that we do not know are options here; see ``Layout``.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from harness.errors import HarnessError
from harness.files import checked
from methods.firp.adapters import Adapters
from methods.firp.bottlenecks import Parents
from methods.shared.choices import CONFIG
from methods.shared.weights import load_strictly, read_parts, write_parts

WEIGHTS = "projections.safetensors"


@dataclass(frozen=True, slots=True)
class Layout:
    """Where pseudo hidden states come from and where they enter.

    ``entry_layers[k-1]`` is the 0-based layer t_k that pseudo state k enters; ``feed`` says what
    W_k multiplies for k >= 2: the ``real`` state entering t_k, or the ``previous`` pseudo state
    as it enters t_k; ``steps_see_earlier`` lets pseudo k attend to pseudo j < k of its token;
    ``adapters`` is the rank of the bottlenecks before each layer above the first entry, ``parents``
    that of the bottlenecks that make a draft depend on the token before it; 0 means none.
    """

    entry_layers: tuple[int, ...] = (3, 3, 3, 3)
    feed: str = "real"
    bias: bool = False
    steps_see_earlier: bool = True
    adapters: int = 0
    parents: int = 0

    def __post_init__(self) -> None:
        entry = self.entry_layers
        if not entry or list(entry) != sorted(entry) or entry[0] < 1:
            raise HarnessError(
                f"firp entry_layers: {list(entry)}, expected one ascending layer >= 1 per step"
            )
        for name, rank in (("adapters", self.adapters), ("parents", self.parents)):
            if rank < 0:
                raise HarnessError(f"firp {name}: {rank}, expected a rank, or 0 for none")
        if self.feed not in ("real", "previous"):
            raise HarnessError(f"firp feed: '{self.feed}', expected real or previous")

    @property
    def steps(self) -> int:
        """K, the number of future tokens predicted beyond the next one."""
        return len(self.entry_layers)

    def check_depth(self, layers: int) -> None:
        """Refuse entries that leave a pseudo state no layer of the target to pass through."""
        if self.entry_layers[-1] >= layers:
            raise HarnessError(
                f"firp entry_layers: {list(self.entry_layers)}, expected below {layers}, the "
                "target's number of layers"
            )


class Projections(nn.Module):
    """W_1 .. W_K, each [H, H], initialised to the identity and kept in float32; where the layout
    has them, also adapters for a target of ``depth`` layers, and the parents' bottlenecks.
    """

    def __init__(self, layout: Layout, hidden_size: int, depth: int = 0) -> None:
        super().__init__()
        self.layout = layout
        adapted = depth - 1 - layout.entry_layers[0] if layout.adapters else 0
        self.adapters = (
            Adapters(adapted, layout.steps, hidden_size, layout.adapters) if adapted > 0 else None
        )
        steps = layout.steps
        self.parents = Parents(steps, hidden_size, layout.parents) if layout.parents else None
        self.maps = nn.ModuleList(
            nn.Linear(hidden_size, hidden_size, bias=layout.bias) for _ in layout.entry_layers
        )
        with torch.no_grad():
            for linear in self.maps:
                assert isinstance(linear, nn.Linear)
                nn.init.eye_(linear.weight)
                if linear.bias is not None:
                    nn.init.zeros_(linear.bias)

    def between(self, layers: int) -> range:
        """Those of ``layers`` layers that pseudo rows enter through adapters; empty without any."""
        first = self.layout.entry_layers[0] + 1
        return range(first, layers if self.adapters is not None else first)

    def project(self, step: int, real: Tensor, earlier: Tensor | None) -> Tensor:
        """Pseudo states of ``step`` (1-based), [B, R, H], as they enter layer t_step.

        ``real`` [B, R, H] are the real tokens' states entering that layer; ``earlier``
        [B, R * (step-1), H] the pseudo states of earlier steps there, step-major; None for step 1.
        """
        rows = real.shape[1]
        if step == 1 or self.layout.feed == "real":
            source = real
        else:
            assert earlier is not None
            source = earlier[:, -rows:]
        # Maps stay in float32 whatever the target runs in.
        projected: Tensor = self.maps[step - 1](source.float()).to(source.dtype)
        return projected


def save(projections: Projections, folder: Path, provenance: Mapping[str, object]) -> None:
    """Write weights (float32 safetensors) and ``config.json`` with layout, sizes and provenance."""
    first: Any = projections.maps[0]
    size = first.weight.shape[-1]
    facts = {"method": "firp", "hidden_size": size, "layout": asdict(projections.layout)}
    write_parts(projections, folder / WEIGHTS, {**facts, **provenance})


def load(folder: Path, hidden_size: int, target_hash: str | None = None) -> Projections:
    """Read what :func:`save` wrote; refuses weights that belong to another target or were changed.

    ``target_hash`` is the SHA-256 that identifies the target's weights; None skips that check.
    """
    size = {"hidden_size": hidden_size}
    target = {} if target_hash is None else {"target_hash": target_hash}
    config, tensors = read_parts(folder / WEIGHTS, "FIRP", {**size, **target})
    layout = checked(Layout, config.get("layout"), f"{folder / CONFIG}: layout", strict=False)
    projections = Projections(layout, hidden_size, _depth(layout, tensors))
    load_strictly(projections, tensors, folder / WEIGHTS)
    return projections


def _depth(layout: Layout, tensors: dict[str, Tensor]) -> int:
    """Number of layers of the target that the adapters were made for; 0 without adapters."""
    if "adapters.up" not in tensors:
        return 0
    return layout.entry_layers[0] + 1 + len(tensors["adapters.up"])
