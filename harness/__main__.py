"""Command line: one subcommand per step of the workflow.

python -m harness session --help
"""

import argparse
import json
import sys
import time

from harness.cli import analysis, engine, methods, prompts, targets
from harness.errors import HarnessError, first_line, out_of_memory


def main(arguments: list[str] | None = None) -> int:
    """Run one subcommand; the last line on stdout is JSON: what ran, where it wrote, seconds.

    Bad input and too little memory end in one line on stderr and exit code 2, Ctrl-C in 130.
    """
    options = _parser().parse_args(arguments)
    started = time.monotonic()
    try:
        options.run(options)
    except HarnessError as error:
        return _failed(str(error), 2)
    except OSError as error:
        named = error.filename is not None and error.strerror
        return _failed(f"{error.filename}: {error.strerror}" if named else str(error), 2)
    except Exception as error:
        if not out_of_memory(error):
            raise
        return _failed(f"{options.command}: out of memory: {first_line(error)}", 2)
    except KeyboardInterrupt:
        return _failed("interrupted; the same command goes on from what is on disk", 130)
    given = vars(options)
    wrote = next(str(given[name]) for name in ("out", "folder", "root") if name in given)
    seconds = round(time.monotonic() - started, 1)
    print(json.dumps({"command": given["command"], "wrote": wrote, "seconds": seconds}))
    return 0


def _failed(line: str, code: int) -> int:
    print(f"error: {line}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m harness", description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2, help="torch threads (recorded)")
    commands = parser.add_subparsers(required=True, metavar="command")
    for stage in (targets, prompts, methods, analysis, engine):
        stage.add(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
