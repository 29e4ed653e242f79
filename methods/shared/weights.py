"""Loading trained parts: the tensors of a file must be exactly those of the module."""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from harness.errors import HarnessError


def read_tensors(file: Path) -> dict[str, Tensor]:
    """A safetensors file, or one line on why it is none."""
    try:
        return load_file(file)
    except SafetensorError as error:
        raise HarnessError(f"{file}: expected a safetensors file ({error})") from None


def load_strictly(module: nn.Module, tensors: dict[str, Tensor], file: Path) -> None:
    """Load ``tensors``; the first that is missing, unknown or of another shape is named."""
    wanted = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in tensors.items()}
    differing = [n for n in found.keys() | wanted.keys() if found.get(n) != wanted.get(n)]
    if differing:
        name = min(differing)
        raise HarnessError(
            f"{file}: tensors hold {name}: {found.get(name, 'nothing')}, expected "
            f"{wanted.get(name, 'nothing')}"
        )
    module.load_state_dict(tensors, strict=True)
