"""Files of trained parts: tensors, and beside them a config with facts, target and hash.

The tensors of a file must be exactly those of the module that they are read for.
"""

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from harness.errors import HarnessError, first_line
from harness.files import read_object, replacing, sha256_file, write_json
from methods.shared.choices import CONFIG


def write_parts(module: nn.Module, file: Path, facts: Mapping[str, object]) -> None:
    """Write a module's tensors (safetensors, in their dtype) and, to the config.json beside them,
    ``facts`` and the tensors' hash.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: value.contiguous() for name, value in module.state_dict().items()}
    with replacing(file) as temporary:
        save_file(tensors, temporary)
    write_json(file.with_name(CONFIG), {**facts, "sha256": sha256_file(file)})


def read_parts(
    file: Path, method: str, expected: Mapping[str, object]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The config.json beside ``file``, and its tensors. Refuses a file that was changed, and a
    config whose values are not the ``expected`` ones; the error names ``method``.
    """
    name = file.with_name(CONFIG)
    config = read_object(name)
    for key, value in {**expected, "sha256": sha256_file(file)}.items():
        if config.get(key) != value:
            raise HarnessError(
                f"{file.parent}: {method} {key} is {config.get(key)}, expected {value}"
            )
    return config, read_tensors(file)


def read_tensors(file: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file; a one-line error if it is none."""
    try:
        return load_file(file)
    except SafetensorError as error:
        raise HarnessError(f"{file}: expected a safetensors file ({error})") from None


def read_published(folder: Path, names: Sequence[str]) -> dict[str, Tensor]:
    """Tensors that others published, from the first of ``names`` that ``folder`` holds: a
    safetensors file or a pickled one.
    """
    file = next((folder / name for name in names if (folder / name).is_file()), None)
    if file is None:
        raise HarnessError(f"{folder}: no {' or '.join(names)}, expected one of them")
    if file.suffix == ".safetensors":
        return read_tensors(file)
    try:
        content = torch.load(file, weights_only=True, map_location="cpu")
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        reason = first_line(error)
        raise HarnessError(f"{file}: expected a file of tensors ({reason})") from None
    if not isinstance(content, dict) or not all(isinstance(v, Tensor) for v in content.values()):
        raise HarnessError(f"{file}: {type(content).__name__}, expected named tensors")
    return content


def load_strictly(module: nn.Module, tensors: dict[str, Tensor], file: Path) -> None:
    """Load ``tensors``; the error names the first that is missing, unknown or of another shape."""
    expected = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    shapes = {name: tuple(value.shape) for name, value in tensors.items()}
    differing = [n for n in shapes.keys() | expected.keys() if shapes.get(n) != expected.get(n)]
    if differing:
        name = min(differing)
        raise HarnessError(
            f"{file}: tensors hold {name}: {shapes.get(name, 'nothing')}, expected "
            f"{expected.get(name, 'nothing')}"
        )
    module.load_state_dict(tensors, strict=True)
