"""No file is half there: every file under its final name can be read to its end."""

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import torch
from pypdf import PdfReader
from safetensors import safe_open


def torn(folder: Path) -> list[str]:
    """Files that cannot be read, each with the reason; temporaries and journals are none."""
    found = []
    for file in sorted(folder.rglob("*")):
        names = file.relative_to(folder).parts
        if not file.is_file() or any(name.startswith(".") for name in names):
            continue
        try:
            _READ.get(file.suffix, _anything)(file)
        except Exception as error:
            found.append(f"{file}: {type(error).__name__}: {error}"[:200])
    return found


def _json_lines(file: Path) -> None:
    text = file.read_text()
    if not text.endswith("\n"):
        raise ValueError("the last line has no end")
    for line in text.splitlines():
        json.loads(line)


def _csv(file: Path) -> None:
    text = file.read_text()
    if not text.endswith("\n"):
        raise ValueError("the last line has no end")


def _json(file: Path) -> None:
    json.loads(file.read_text())


def _tensors(file: Path) -> None:
    with safe_open(file, framework="pt") as tensors:
        for name in tensors.keys():  # noqa: SIM118
            tensors.get_tensor(name)


def _checkpoint(file: Path) -> None:
    torch.load(file, weights_only=True)


def _pdf(file: Path) -> None:
    for page in PdfReader(file).pages:
        page.extract_text()


def _svg(file: Path) -> None:
    ElementTree.parse(file)


def _anything(file: Path) -> None:
    """Logs and journals may end anywhere."""


_READ = {
    ".jsonl": _json_lines,
    ".json": _json,
    ".csv": _csv,
    ".safetensors": _tensors,
    ".pt": _checkpoint,
    ".pdf": _pdf,
    ".svg": _svg,
}
