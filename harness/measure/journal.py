"""The side file that a running session appends to, so that a killed one resumes.

First line: a header, mostly hashes (options, prompts, weights, sources). Then the rows of one
prompt at a time, all arms together, flushed and fsynced. A journal with another header is set
aside.
"""

import fcntl
import json
import os
from collections.abc import Mapping
from io import FileIO
from pathlib import Path
from typing import cast

from harness.errors import HarnessError
from harness.experiment.records import Record
from harness.files import replacing, set_aside


class Journal:
    """An append-only file under an exclusive lock; use as a context manager."""

    def __init__(self, final: Path, header: Mapping[str, object]) -> None:
        self._final = final
        self._path = final.with_name(f".{final.name}.journal")
        self._header = json.dumps(header, sort_keys=True) + "\n"
        self._stream: FileIO | None = None
        self.rows: list[Record] = []  # of prompts with all their rows
        self.done: set[str] = set()
        self.blocks = 0

    def __enter__(self) -> "Journal":
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # Unbuffered, so that closing has nothing left to write where a write has failed.
        self._stream = stream = self._path.open("a+b", buffering=0)
        if not self._locked(stream):
            stream.close()
            raise HarnessError(f"{self._final}: another session is writing it; expected one")
        stream.seek(0)
        content, header = stream.read(), self._header.encode()
        if content.startswith(header):
            self._recover(content.splitlines(keepends=True))
        elif header.startswith(content):  # new, or cut off within its first line
            stream.truncate(0)
            self._append(header)
        else:
            self._set_aside()
            return self.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def add(self, prompt_id: str, rows: list[Record]) -> None:
        """Append the rows of one prompt in one write; they are on disk when this returns."""
        self._append("".join(json.dumps(row) + "\n" for row in rows).encode())
        self.rows += rows
        self.done.add(prompt_id)

    def finish(self) -> None:
        """Write all rows to the final file at once, and delete the journal."""
        rows = self._path.read_bytes().split(b"\n", 1)[1]
        with replacing(self._final) as temporary:
            temporary.write_bytes(rows)
        self._path.unlink()

    def _locked(self, stream: FileIO) -> bool:
        """Lock the journal; returns whether this process now holds the file of that name."""
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # A session that finished in between has deleted the name of the file opened here.
            return os.path.samestat(os.fstat(stream.fileno()), self._path.stat())
        except (BlockingIOError, FileNotFoundError):
            return False
        except OSError as error:  # a file system without locks
            raise OSError(error.errno, f"lock: {error.strerror}", str(self._path)) from error

    def _append(self, data: bytes) -> None:
        """Write all of ``data`` to disk, or raise an error that names the file.

        A torn end is cut off by the next session.
        """
        assert self._stream is not None
        unwritten = memoryview(data)
        try:
            while unwritten:
                unwritten = unwritten[self._stream.write(unwritten) :]
            os.fsync(self._stream.fileno())
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self._path)) from error

    def _recover(self, lines: list[bytes]) -> None:
        """Keep the prompts whose rows are all there; a torn last write is cut off."""
        whole = at = len(lines[0])
        pending: list[Record] = []
        for line in lines[1:]:
            row = _parse(line)
            if row is None:
                break
            at += len(line)
            pending.append(row)
            if row["last_of_prompt"]:
                whole, self.rows, pending = at, self.rows + pending, []
                self.done.add(row["prompt_id"])
                self.blocks = max(self.blocks, row["block"] + 1)
        assert self._stream is not None
        self._stream.truncate(whole)
        self._stream.seek(whole)
        if self.done:
            print(f"{self._final}: resuming after {len(self.done)} prompts")

    def _set_aside(self) -> None:
        aside = set_aside(self._path)
        assert self._stream is not None
        self._stream.close()
        print(f"{self._final}: a journal of other inputs was set aside as {aside.name}")


def _parse(line: bytes) -> Record | None:
    if not line.endswith(b"\n"):
        return None
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return cast(Record, row) if isinstance(row, dict) else None
