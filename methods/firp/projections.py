"""FIRP's only trained parameters: one linear map per future step, and how they are kept on disk.

Source: Wu et al., "FIRP: Faster LLM inference via future intermediate representation prediction"
(arXiv 2410.20488). What is not known of the paper is an option here; see ``Layout``.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from harness.errors import HarnessError
from harness.files import checked, read_json, replacing, sha256_file, write_json
from methods.firp.adapters import Adapters
from methods.shared.weights import load_strictly, read_tensors

WEIGHTS, CONFIG = "projections.safetensors", "config.json"


@dataclass(frozen=True, slots=True)
class Layout:
    """Where pseudo hidden states come from and where they enter.

    ``entry_layers[k-1]`` is the 0-based layer t_k that pseudo state k enters; ``feed`` says what
    W_k multiplies for k >= 2: the ``real`` state entering t_k, or the ``previous`` pseudo state
    as it enters t_k; ``steps_see_earlier`` lets pseudo k attend to pseudo j < k of its token;
    ``adapters`` is the rank of bottlenecks between the layers above the first entry, 0 for none.
    """

    entry_layers: tuple[int, ...] = (3, 3, 3, 3)
    feed: str = "real"
    bias: bool = False
    steps_see_earlier: bool = True
    adapters: int = 0

    def __post_init__(self) -> None:
        entry = self.entry_layers
        if not entry or list(entry) != sorted(entry) or entry[0] < 1:
            raise HarnessError(
                f"firp entry_layers: {list(entry)}, expected one ascending layer >= 1 per step"
            )
        if self.adapters < 0:
            raise HarnessError(f"firp adapters: {self.adapters}, expected a rank, or 0 for none")
        if self.feed not in ("real", "previous"):
            raise HarnessError(f"firp feed: '{self.feed}', expected real or previous")

    @property
    def steps(self) -> int:
        """K, the number of future tokens predicted beyond the next one."""
        return len(self.entry_layers)

    def check_depth(self, layers: int) -> None:
        """Pseudo states must pass at least one layer of the target."""
        if self.entry_layers[-1] >= layers:
            raise HarnessError(
                f"firp entry_layers: {list(self.entry_layers)}, expected below {layers}, the "
                "target's number of layers"
            )


class Projections(nn.Module):
    """W_1 .. W_K, each [H, H], initialised to the identity, kept in float32; and the adapters of a
    target of ``depth`` layers where the layout has any.
    """

    def __init__(self, layout: Layout, hidden_size: int, depth: int = 0) -> None:
        super().__init__()
        self.layout = layout
        between = depth - 1 - layout.entry_layers[0] if layout.adapters else 0
        self.adapters = (
            Adapters(between, layout.steps, hidden_size, layout.adapters) if between > 0 else None
        )
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
        """The layers, of ``layers``, that pseudo rows enter through adapters; empty without any."""
        first = self.layout.entry_layers[0] + 1
        return range(first, layers if self.adapters is not None else first)

    def project(self, step: int, real: Tensor, earlier: Tensor | None) -> Tensor:
        """Pseudo states of ``step`` (1-based), [B, R, H], as they enter layer t_step.

        ``real`` [B, R, H] are the real tokens' states entering that layer; ``earlier``
        [B, R * (step-1), H] those of the steps before, step-major (None before any).
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


def save(projections: Projections, folder: Path, provenance: dict[str, Any]) -> None:
    """Write weights (float32 safetensors) and ``config.json`` with layout, sizes and provenance."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: value.contiguous() for name, value in projections.state_dict().items()}
    with replacing(folder / WEIGHTS) as temporary:
        save_file(tensors, temporary)
    layout = asdict(projections.layout)
    size = next(projections.parameters()).shape[-1]
    config = {
        "method": "firp",
        "hidden_size": size,
        "layout": layout,
        "sha256": sha256_file(folder / WEIGHTS),
        **provenance,
    }
    write_json(folder / CONFIG, config)


def load(folder: Path, hidden_size: int, target_hash: str | None = None) -> Projections:
    """Read what :func:`save` wrote; refuses weights that belong to another target or were changed.

    ``target_hash`` is the SHA-256 that identifies the target's weights; None skips that check.
    """
    config = checked(dict[str, Any], read_json(folder / CONFIG), str(folder / CONFIG))
    _expect(folder, "hidden_size", config.get("hidden_size"), hidden_size)
    if target_hash is not None:
        _expect(folder, "target_hash", config.get("target_hash"), target_hash)
    _expect(folder, "sha256", sha256_file(folder / WEIGHTS), config.get("sha256"))
    tensors = read_tensors(folder / WEIGHTS)
    layout = checked(Layout, config.get("layout"), f"{folder / CONFIG}: layout", strict=False)
    projections = Projections(layout, hidden_size, _depth(layout, tensors))
    load_strictly(projections, tensors, folder / WEIGHTS)
    return projections


def _depth(layout: Layout, tensors: dict[str, Tensor]) -> int:
    """Of the target that adapters were made for; 0 without any."""
    if "adapters.up" not in tensors:
        return 0
    return layout.entry_layers[0] + 1 + len(tensors["adapters.up"])


def _expect(folder: Path, key: str, found: Any, expected: Any) -> None:
    if found != expected:
        raise HarnessError(f"{folder}: FIRP {key} is {found}, expected {expected}")
