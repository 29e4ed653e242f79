"""Command line: one subcommand per step of the workflow, and decode to try a method.

firp-bench decode --model mini --method firp --prompt "..."    (or: python -m harness decode)
firp-bench session --help
"""

import argparse
import difflib
import json
import sys
import time
from importlib.metadata import version
from typing import NoReturn

from harness.cli import analysis, decode, engine, methods, prompts, targets
from harness.errors import HarnessError, first_line, out_of_memory

# Stages of the workflow and the modules that add their commands, in the order of the help.
STAGES = {
    "try a method": decode,
    "make a target": targets,
    "freeze prompts and answer them": prompts,
    "prepare methods and measure them": methods,
    "tables, figures and reports": analysis,
    "the engine by itself": engine,
}
SPEAKING = ("decode", "summary", "schema")  # what they print is for people, or JSON already


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
    _finish(vars(options), time.monotonic() - started)
    return 0


def _finish(given: dict[str, object], seconds: float) -> None:
    """The last line of a step: what ran, where it wrote, and its seconds."""
    wrote = next((str(given[name]) for name in ("out", "folder", "root") if given.get(name)), None)
    if given["command"] not in SPEAKING:
        line = {"command": given["command"], "wrote": wrote, "seconds": round(seconds, 1)}
        print(json.dumps(line))


def _failed(line: str, code: int) -> int:
    print(f"error: {line}", file=sys.stderr)
    return code


class _Parser(argparse.ArgumentParser):
    """Names the commands that are near to a wrong one instead of listing all of them."""

    def error(self, message: str) -> NoReturn:
        """Exit with 2 after one line."""
        wrong = message.partition("invalid choice: '")[2].partition("'")[0]
        if "argument command" in message and wrong:
            near = difflib.get_close_matches(wrong, self.known) or ["--help"]
            message = f"no command '{wrong}'; expected one as {' or '.join(near)}"
        self.exit(2, f"error: {message}\n")

    known: tuple[str, ...] = ()


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="firp-bench",
        description=(__doc__ or "").strip(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=version("firp-bench"))
    parser.add_argument("--threads", type=int, default=2, help="torch threads (recorded)")
    commands = parser.add_subparsers(required=True, metavar="command", dest="command")
    listed = []
    for title, stage in STAGES.items():
        before = len(commands.choices)
        stage.add(commands)
        added = list(commands.choices.items())[before:]
        listed += [f"\n{title}:", *(f"  {name:<20}  {made.description}" for name, made in added)]
    parser.epilog = "\n".join(listed)
    parser.known = tuple(commands.choices)
    return parser


if __name__ == "__main__":
    sys.exit(main())
