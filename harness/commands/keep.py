"""Keep what an experiment measured: small enough to commit, enough to analyse it again."""

import argparse
import gzip
import shutil
import zlib
from pathlib import Path

from harness.commands.options import Argument
from harness.errors import HarnessError, first_line
from harness.experiment.folder import KEPT, PROMPTS, ROWS, Folder, provenance_of
from harness.files import replacing


def keep(root: Path, out: Path, *, prompts: bool) -> None:
    """Copy tables, settings and provenance of ``root`` to ``out``, and the rows compressed.

    ``prompts``: also copy the frozen test prompts and whole answers, both with references, without
    which tables cannot be made again; only for data that may be redistributed.
    """
    folder = Folder(root)
    if not folder.facts.is_file():
        raise HarnessError(f"{root}: no tables, expected the folder of a finished experiment")
    # Those that the tables are of: an earlier config may have had more sessions.
    packed = [root / name for name in folder.read_json(folder.facts)["row_files"]]
    earlier = {provenance_of(file) for file in {*folder.found(*ROWS)} - {*packed}}
    plain = [file for file in folder.found(*KEPT) if file not in earlier]
    if prompts:
        packed += folder.found(*PROMPTS)
    if out.exists():
        raise HarnessError(f"{out}: exists, expected a new folder")
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # left by a killed run
    for file in plain:
        with replacing(partial / file.relative_to(root)) as temporary:
            temporary.write_bytes(file.read_bytes())
    for file in packed:
        name = partial / file.relative_to(root)
        with replacing(name.with_name(name.name + ".gz")) as temporary:
            # No time in the header, so that equal rows give equal bytes.
            temporary.write_bytes(gzip.compress(file.read_bytes(), mtime=0))
    partial.rename(out)


def unpack(kept: Path, root: Path) -> None:
    """Reverse :func:`keep`, so that kept rows can be analysed again."""
    for file in kept.rglob("*"):
        if file.is_file():
            packed = file.suffix == ".gz"
            name = root / file.relative_to(kept)
            data = _unpacked(file) if packed else file.read_bytes()
            with replacing(name.with_suffix("") if packed else name) as temporary:
                temporary.write_bytes(data)


def _unpacked(file: Path) -> bytes:
    try:
        return gzip.decompress(file.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise HarnessError(
            f"{file}: expected a whole gzip file, found {first_line(error)}"
        ) from None


def arguments(add: Argument) -> None:
    """Add the subcommand's arguments."""
    add("--root", required=True, type=Path, help="results/<experiment>")
    add("--out", required=True, type=Path, help="a new folder")
    add("--prompts", action="store_true", help="frozen test prompts and whole answers too")


def run(options: argparse.Namespace) -> None:
    """Run the subcommand."""
    keep(options.root, options.out, prompts=options.prompts)
