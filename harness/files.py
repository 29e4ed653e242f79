"""Small file helpers: whole-file writes that are never half there, hashes, JSON lines."""

import glob
import hashlib
import itertools
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast

from pydantic import Field, TypeAdapter, ValidationError

from harness.errors import HarnessError, first_line

T = TypeVar("T")
TokenId = Annotated[int, Field(ge=0, lt=2**31)]
# Of an experiment, model, data set or method: it becomes part of paths. As in the config's schema.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=64)]
_REFUSED_WRITES = (
    *("PytorchStreamWriter", "inline_container"),
    *("I/O error", "os error", "failed to write"),
)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its place when the block ends without error.

    The place is taken once all bytes are on disk. What cannot be written is named by ``path``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _drop_abandoned(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        _sync(temporary)
        os.replace(temporary, path)
        _sync(path.parent)
    except Exception as error:
        _name(error, temporary, path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_files(folder: Path) -> Iterator[Path]:
    """A temporary folder whose files, once all are written, go to ``folder``, one after the other.

    For writers that choose the names of their files, as models and tokenizers do.
    """
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / ".files.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        yield temporary
        files = sorted(temporary.iterdir())
        for file in files:
            _sync(file)
        for file in files:
            os.replace(file, folder / file.name)
        _sync(folder)
    except Exception as error:
        _name(error, temporary, folder)
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _sync(path: Path) -> None:
    """Return when a file's bytes, or a folder's names, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def set_aside(path: Path) -> Path:
    """Move a file that is in the way to a hidden name beside it that no other has; returns it."""
    stem = path.name.removeprefix(".")
    names = (path.with_name(f".{stem}.{number}.aside") for number in itertools.count(1))
    aside = next(name for name in names if not name.exists())
    path.rename(aside)
    return aside


def _name(error: Exception, temporary: Path, path: Path) -> None:
    """Raise the error in the name of ``path``, if writing ``temporary`` is what failed."""
    if isinstance(error, OSError):
        if error.filename in (None, str(temporary)):
            raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    # torch, safetensors and typst say it in errors of their own
    elif any(words in str(error) for words in _REFUSED_WRITES):
        raise HarnessError(f"{path}: {first_line(error)}") from error


def _drop_abandoned(path: Path) -> None:
    """Temporaries that killed writers of ``path`` left behind."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        number = left.name.split(".")[-2]
        if number.isdigit() and not _runs(int(number)):
            left.unlink(missing_ok=True)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def write_text(path: Path, text: str) -> None:
    """Write ``text`` so that ``path`` is either the old file or the whole new one."""
    with replacing(path) as temporary:
        temporary.write_text(text)


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON with a final newline."""
    write_text(path, json.dumps(value, indent=2, sort_keys=False) + "\n")


def read_json(path: Path) -> Any:
    """Parse a JSON file; one-line error when it is missing or malformed."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise HarnessError(f"{path}: no such file") from None
    except ValueError as error:  # also of what is no UTF-8, and of numbers of thousands of digits
        raise HarnessError(f"{path}: expected JSON, found {error}") from None


def write_jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write one JSON object a line."""
    write_text(path, "".join(json.dumps(row) + "\n" for row in rows))


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Parse a JSON-lines file; a bad line is named by its number."""
    if not path.is_file():
        raise HarnessError(f"{path}: no such file")
    rows = []
    try:
        # not splitlines: JSON may hold line separators of Unicode
        lines = path.read_text().removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        raise HarnessError(f"{path}: expected UTF-8 text, found {error}") from None
    for number, line in enumerate(lines if lines != [""] else [], start=1):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise HarnessError(f"{path} line {number}: expected JSON, found {error}") from None
        if not isinstance(row, dict):
            raise HarnessError(f"{path} line {number}: expected an object, found {line[:40]!r}")
        rows.append(row)
    return rows


def checked(kind: type[T], value: Any, where: str, *, strict: bool = True) -> T:
    """``value`` as ``kind`` (a dataclass, TypedDict or container type); ``where`` names it.

    ``strict``: lists are no tuples and numbers no text; else what JSON cannot tell apart is taken
    for what is meant.
    """
    try:
        found: T = _adapter(cast(Any, kind)).validate_python(value, strict=strict)
        return found
    except ValidationError as error:
        raise HarnessError(_first(error, where)) from None


def parsed(kind: type[T], value: Any, where: str) -> T:
    """``value``, as JSON has it, as ``kind``: lists may be tuples, and mappings dataclasses, but no
    text is a number. ``where`` names it.
    """
    try:
        found: T = _adapter(cast(Any, kind)).validate_json(
            json.dumps(value, default=repr), strict=True
        )
        return found
    except ValidationError as error:
        raise HarnessError(_first(error, where)) from None


def _first(error: ValidationError, where: str) -> str:
    """The first of the errors in one line; those of our own checks say all there is to say."""
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    said = first["msg"].removeprefix("Value error, ")
    if first["type"] == "value_error":
        return f"{where}: {place}: {said}" if place else f"{where}: {said}"
    return f"{where}: {place or 'value'}: {said}, found {first['input']!r:.60}"


@lru_cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def sha256_bytes(data: bytes) -> str:
    """Hex SHA-256 of ``data``."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file's content."""
    if not path.is_file():
        raise HarnessError(f"{path}: no such file")
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_json(value: Any) -> str:
    """Hex SHA-256 of the canonical JSON of ``value``."""
    return sha256_bytes(json.dumps(value, sort_keys=True, separators=(",", ":")).encode())
