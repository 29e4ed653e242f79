"""The side file that a running session appends to, so that a killed one resumes.

First line: a header of hashes (config, prompts, weights, commit). Then the rows of one prompt at a
time, all arms together, flushed and fsynced. A journal with another header is set aside.
"""

import fcntl
import json
import os
from pathlib import Path
from typing import Any, BinaryIO

from harness.errors import HarnessError
from harness.files import replacing

Row = dict[str, Any]


class Journal:
    """An append-only file under an exclusive lock; use as a context manager."""

    def __init__(self, final: Path, header: Row) -> None:
        self._final = final
        self._path = final.with_name(f".{final.name}.journal")
        self._header = json.dumps(header, sort_keys=True) + "\n"
        self._stream: BinaryIO | None = None
        self.done: set[str] = set()
        self.blocks = 0

    def __enter__(self) -> "Journal":
        self._path.parent.mkdir(parents=True, exist_ok=True)
        stream = self._path.open("a+b")
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.close()
            raise HarnessError(
                f"{self._final}: another session is writing it; expected one"
            ) from None
        self._stream = stream
        stream.seek(0)
        lines = stream.read().splitlines(keepends=True)
        if lines and lines[0] != self._header.encode():
            self._set_aside()
            return self.__enter__()
        if not lines:
            self._append(self._header.encode())
        else:
            self._recover(lines)
        return self

    def __exit__(self, *_: object) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def add(self, prompt_id: str, rows: list[Row]) -> None:
        """Append the rows of one prompt in one write; they are on disk when this returns."""
        self._append("".join(json.dumps(row) + "\n" for row in rows).encode())
        self.done.add(prompt_id)

    def finish(self) -> None:
        """Put the rows in place of the final file, whole, and drop the journal."""
        rows = self._path.read_bytes().split(b"\n", 1)[1]
        with replacing(self._final) as temporary:
            temporary.write_bytes(rows)
        self._path.unlink()

    def _append(self, data: bytes) -> None:
        assert self._stream is not None
        self._stream.write(data)
        self._stream.flush()
        os.fsync(self._stream.fileno())

    def _recover(self, lines: list[bytes]) -> None:
        """Keep the prompts whose rows are all there; a torn last write is cut off."""
        whole = len(lines[0])
        pending: list[bytes] = []
        for line in lines[1:]:
            pending.append(line)
            row = _parse(line)
            if row is None:
                break
            if row["last_of_prompt"]:
                whole += sum(map(len, pending))
                pending = []
                self.done.add(row["prompt_id"])
                self.blocks = max(self.blocks, row["block"] + 1)
        assert self._stream is not None
        self._stream.truncate(whole)
        self._stream.seek(whole)
        if self.done:
            print(f"{self._final}: resuming after {len(self.done)} prompts")

    def _set_aside(self) -> None:
        aside = self._path.with_name(self._path.name + f".{os.getpid()}.aside")
        os.replace(self._path, aside)
        assert self._stream is not None
        self._stream.close()
        print(f"{self._final}: a journal of other inputs was set aside as {aside.name}")


def _parse(line: bytes) -> Row | None:
    if not line.endswith(b"\n"):
        return None
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None
