"""Small helpers: files that are written whole or not at all, JSON, checked values, hashes."""

import csv
import glob
import hashlib
import itertools
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast

from pydantic import Field, TypeAdapter, ValidationError

from harness.errors import HarnessError, first_line

T = TypeVar("T")
TokenId = Annotated[int, Field(ge=0, lt=2**31)]
# Name of an experiment, model, data set or method: part of paths. As in the config's schema.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=64)]
_REFUSED_WRITES = (
    *("PytorchStreamWriter", "inline_container"),
    *("I/O error", "os error", "failed to write"),
)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path``, renamed to ``path`` when the block ends without error.

    It is renamed once all its bytes are on disk. Errors in writing name ``path``.
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
    """A temporary folder whose files move to ``folder``, one by one, once all are written.

    For writers that name their files themselves, as models and tokenizers do.
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
    """Wait until a file's bytes, or the names in a folder, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def set_aside(path: Path) -> Path:
    """Rename a file that is in the way to an unused hidden name beside it; returns the new path."""
    stem = path.name.removeprefix(".")
    names = (path.with_name(f".{stem}.{number}.aside") for number in itertools.count(1))
    aside = next(name for name in names if not name.exists())
    path.rename(aside)
    return aside


def _name(error: Exception, temporary: Path, path: Path) -> None:
    """Raise an error that names ``path``, if ``error`` comes from writing ``temporary``."""
    if isinstance(error, OSError):
        if error.filename in (None, str(temporary)):
            raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    # torch, safetensors and typst raise errors of their own when a write fails
    elif any(words in str(error) for words in _REFUSED_WRITES):
        raise HarnessError(f"{path}: {first_line(error)}") from error


def _drop_abandoned(path: Path) -> None:
    """Delete temporary files of ``path`` whose writers no longer run."""
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        pid = leftover.name.split(".")[-2]
        if pid.isdigit() and not _runs(int(pid)):
            leftover.unlink(missing_ok=True)


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


def write_csv(path: Path, header: Sequence[str], lines: Iterable[Sequence[object]]) -> None:
    """Write a CSV file; ``path`` is either the old file or the whole new one."""
    with replacing(path) as temporary, temporary.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(header)
        writer.writerows(lines)


def read_json(path: Path) -> Any:
    """Parse a JSON file; one-line error when it is missing or malformed."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise HarnessError(f"{path}: no such file") from None
    except ValueError as error:  # also if not UTF-8, and for numbers of thousands of digits
        raise HarnessError(f"{path}: expected JSON, found {error}") from None


def read_object(path: Path) -> dict[str, Any]:
    """The object that a JSON file holds; a one-line error if it holds anything else."""
    return checked(dict[str, Any], read_json(path), str(path))


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write one JSON object a line."""
    write_text(path, "".join(json.dumps(row) + "\n" for row in rows))


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Parse a JSON-lines file; the error for a bad line gives its number."""
    if not path.is_file():
        raise HarnessError(f"{path}: no such file")
    rows = []
    try:
        # not splitlines(): JSON strings may contain Unicode's line separators
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
    """``value`` validated as ``kind`` (a dataclass, TypedDict or container type).

    Errors begin with ``where``. With ``strict`` no value is converted; without it pydantic converts
    where it can, such as a list to a tuple, which JSON does not have.
    """
    try:
        result: T = _adapter(cast(Any, kind)).validate_python(value, strict=strict)
        return result
    except ValidationError as error:
        raise HarnessError(_first(error, where)) from None


def parsed(kind: type[T], value: Any, where: str) -> T:
    """``value``, made of JSON's types, validated as ``kind``: a list may become a tuple and a
    mapping a dataclass, but text never a number. Errors begin with ``where``.
    """
    try:
        result: T = _adapter(cast(Any, kind)).validate_json(
            json.dumps(value, default=repr), strict=True
        )
        return result
    except ValidationError as error:
        raise HarnessError(_first(error, where)) from None


def _first(error: ValidationError, where: str) -> str:
    """The first of the errors as one line; messages of our own validators need no input quoted."""
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "value_error":
        return f"{where}: {place}: {message}" if place else f"{where}: {message}"
    return f"{where}: {place or 'value'}: {message}, found {first['input']!r:.60}"


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
