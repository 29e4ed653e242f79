"""Command line: one subcommand per step of the workflow, and decode to try a method.

firp-bench decode --model mini --method firp --prompt "..."    (or: python -m harness decode)
firp-bench session --help
"""

import argparse
import difflib
import json
import sys
import time
from importlib import import_module
from importlib.metadata import version
from typing import NoReturn

from harness.errors import HarnessError, first_line, out_of_memory

# Subcommands by stage of the workflow. Each is a module of harness/commands with the functions
# arguments and run. Only the requested module is imported, since importing torch takes seconds.
STAGES = {
    "try a method": {
        "decode": "decode a prompt with a method, beside plain decoding",
        "check-trees": "tree attention against plain forwards, on known trees",
    },
    "make a target": {
        "schema": "the JSON schema of a config, every key described",
        "stand-in": "generate a stand-in question set",
        "rebuild-mini-target": "train mini's target again",
        "fetch-gguf": "make a target of a GGUF file",
        "pretrain": "train a target on question sets",
    },
    "freeze prompts and answer them": {
        "freeze": "freeze the prompts of splits, one after the other",
        "answer": "the target's greedy answers, untimed",
        "uncut": "whole answers under a cap of their own, to score their quality",
    },
    "prepare methods and measure them": {
        "check": "parse every method's settings",
        "train": "train a method's own parameters",
        "tune": "choose a method's setting on the tune split",
        "examine": "what a method's training gave, as tables",
        "take-parts": "check ready-made parts, put them in place",
        "share-parts": "put an arm's trained parts beside a variant",
        "collect-parts": "what was trained, as parts to ship",
        "curve": "draft size against acceptance and speed",
        "profile": "decode time of each arm by phase",
        "cost": "cost of a forward by rows and context",
        "session": "time all arms on one dataset",
    },
    "tables, figures and reports": {
        "sweep-table": "collect a sweep's variants",
        "tables": "rows -> tables",
        "coverage": "how often intervals hold the truth, simulated",
        "ranking-study": "what ranks mean, simulated",
        "figures": "tables -> figures",
        "report": "tables and figures -> PDF",
        "summary": "the main tables as text",
        "page": "tables and figures -> one HTML page",
        "import": "analyse published answer files again",
        "keep": "keep an experiment's rows and tables, compressed",
        "unpack": "lay kept rows out for analysing them again",
    },
    "the engine by itself": {
        "engine": "time the engine beside bandwidth and generate",
        "predict": "acceptance x cost of forwards: predictions",
    },
}
COMMANDS = {name: text for stage in STAGES.values() for name, text in stage.items()}
MODULES = {"import": "import_runs"}  # commands whose names cannot be module names
SPEAKING = ("decode", "summary", "schema")  # they print text for people, or their own JSON


def main(arguments: list[str] | None = None) -> int:
    """Run one subcommand and return the exit code.

    Except for the SPEAKING ones, the last line on stdout is JSON: the command, where it wrote, and
    its seconds. Bad input and lack of memory give one line on stderr and code 2, Ctrl-C gives 130.
    """
    words = sys.argv[1:] if arguments is None else arguments
    command = next((word for word in words if word in COMMANDS), "")
    started = time.monotonic()
    try:
        options = _parser(command).parse_args(words)
        options.run(options)
    except HarnessError as error:
        return _failed(str(error), 2)
    except OSError as error:
        names_file = error.filename is not None and error.strerror
        return _failed(f"{error.filename}: {error.strerror}" if names_file else str(error), 2)
    except Exception as error:
        if not out_of_memory(error):
            raise
        return _failed(f"{command}: out of memory: {first_line(error)}", 2)
    except KeyboardInterrupt:
        return _failed("interrupted; the same command goes on from what is on disk", 130)
    _finish(vars(options), time.monotonic() - started)
    return 0


def _finish(args: dict[str, object], seconds: float) -> None:
    """Print the last line of a step: the command, where it wrote, and its seconds."""
    output = next((str(args[name]) for name in ("out", "folder", "root") if args.get(name)), None)
    if args["command"] not in SPEAKING:
        line = {"command": args["command"], "wrote": output, "seconds": round(seconds, 1)}
        print(json.dumps(line))


def _failed(line: str, code: int) -> int:
    print(f"error: {line}", file=sys.stderr)
    return code


class _Parser(argparse.ArgumentParser):
    """Answers an unknown command with the most similar ones instead of a list of all."""

    def error(self, message: str) -> NoReturn:
        """Print one line on stderr and exit with code 2."""
        wrong = message.partition("invalid choice: '")[2].partition("'")[0]
        if "argument command" in message and wrong:
            near = difflib.get_close_matches(wrong, COMMANDS) or ["--help"]
            message = f"no command '{wrong}'; expected one as {' or '.join(near)}"
        self.exit(2, f"error: {message}\n")


def _parser(chosen: str) -> argparse.ArgumentParser:
    """The parser of all subcommands; only the chosen one gets its arguments."""
    parser = _Parser(
        prog="firp-bench",
        description=(__doc__ or "").strip(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=version("firp-bench"))
    parser.add_argument("--threads", type=int, default=2, help="torch threads (recorded)")
    commands = parser.add_subparsers(required=True, metavar="command", dest="command")
    lines = []
    for title, stage in STAGES.items():
        lines += [f"\n{title}:", *(f"  {name:<20}  {text}" for name, text in stage.items())]
        for name, text in stage.items():
            # no help= here: the epilog lists the commands by stage
            command = commands.add_parser(name, description=text)
            if name == chosen:
                module = import_module(
                    f"harness.commands.{MODULES.get(name, name.replace('-', '_'))}"
                )
                module.arguments(command.add_argument)
                command.set_defaults(run=module.run)
    parser.epilog = "\n".join(lines)
    return parser


if __name__ == "__main__":
    sys.exit(main())
