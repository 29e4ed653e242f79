"""Command line: one subcommand per step of the workflow.

python -m harness session --help
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from harness.errors import HarnessError


def main(arguments: list[str] | None = None) -> int:
    """Run one subcommand; bad input ends in one line on stderr and exit code 2."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except HarnessError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m harness", description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2, help="torch threads (recorded)")
    commands = parser.add_subparsers(required=True, metavar="command")
    _add_targets(commands)
    _add_prompts(commands)
    _add_methods(commands)
    _add_analysis(commands)
    return parser


def _add_targets(commands: Any) -> None:
    """Steps that make a target or the text that it is asked."""
    add = _command(commands, "stand-in", "generate a stand-in question set", _stand_in)
    add("--dataset", required=True)
    add("--split", required=True)
    add("--count", required=True, type=int)
    add("--seed", default=0, type=int)
    add("--out", required=True, type=Path)

    add = _command(commands, "rebuild-mini-target", "train mini's target again", _rebuild)
    add("--seed", default=0, type=int)
    add("--tokens", default=None, type=int, help="positions per phase, the recipe's by default")
    add("--out", required=True, type=Path)

    add = _command(commands, "pretrain", "train a target on question sets", _pretrain)
    add("--recipe", required=True, help="JSON: sources, shape, recipe")
    add("--out", required=True, type=Path)


def _add_prompts(commands: Any) -> None:
    """Steps that freeze prompts and answer them, untimed."""
    for name, text, run in (
        ("first-turns", "answer first turns, untimed", _first_turns),
        ("freeze", "freeze a split's prompts", _freeze),
    ):
        add = _command(commands, name, text, run)
        add("--model", required=True, help="JSON: where the model is")
        add("--split", required=True, help="JSON: dataset, source, few_shot, longest_prompt")
        add("--out", required=True, type=Path)
        if name == "freeze":
            add("--first-turns", type=Path)
        else:
            add("--cap", required=True, type=int)

    add = _command(commands, "answer", "the target's greedy answers, untimed", _answer)
    add("--model", required=True)
    add("--prompts", required=True, nargs="+", type=Path)
    add("--caps", required=True, help="JSON: dataset -> new tokens at most")
    add("--out", required=True, type=Path)


def _add_methods(commands: Any) -> None:
    """Steps that check, train, tune and time methods."""
    add = _command(commands, "check", "parse every method's settings", _check)
    add("--methods", required=True, help="JSON: method -> settings")
    add("--out", required=True, type=Path)

    for name, text, run in (
        ("train", "train a method's own parameters", _train),
        ("tune", "choose a method's setting on the tune split", _tune),
    ):
        add = _command(commands, name, text, run)
        add("--method", required=True)
        add("--settings", required=True, help="JSON: the method's settings")
        add("--model", required=True)
        add("--train-answers", required=True, type=Path)
        add("--tune-answers", required=True, type=Path)
        add("--prompts", nargs="*", default=[], type=Path, help="tune prompts")
        add("--caps", default="{}")
        add("--seed", default=0, type=int)
        add("--budget", type=float, help="wall seconds for training and tuning together")
        add("--folder", required=True, type=Path)

    add = _command(commands, "curve", "draft size against acceptance and speed", _curve)
    add("--methods", required=True, help="JSON: method -> settings")
    add("--largest", required=True, type=int, help="draft tokens a step, at most")
    add("--timed", required=True, nargs="+", type=int, help="sizes that are timed")
    add("--model", required=True)
    add("--train-answers", required=True, type=Path)
    add("--tune-answers", required=True, type=Path)
    add("--prompts", required=True, nargs="+", type=Path, help="tune prompts")
    add("--caps", required=True)
    add("--seed", default=0, type=int)
    add("--folders", required=True, type=Path)
    add("--out", required=True, type=Path)

    add = _command(commands, "profile", "the share of drafting in each arm's time", _profile)
    add("--model", required=True)
    add("--methods", required=True, help="JSON: arm -> settings")
    add("--prompts", required=True, nargs="+", type=Path, help="tune prompts")
    add("--caps", required=True, help="JSON: dataset -> new tokens at most")
    add("--count", required=True, type=int, help="prompts decoded")
    add("--folders", required=True, type=Path)
    add("--out", required=True, type=Path)

    add = _command(commands, "session", "time all arms on one dataset", _session)
    add("--model", required=True)
    add("--methods", required=True, help="JSON: arm -> settings")
    add("--options", required=True, help="JSON: labels, seed, max_new_tokens, warmup")
    add("--prompts", required=True, type=Path)
    add("--warmup", required=True, type=Path)
    add("--folders", required=True, type=Path)
    add("--out", required=True, type=Path)


def _add_analysis(commands: Any) -> None:
    """Steps from rows to PDFs: cheap, and without a model."""
    add = _command(commands, "sweep-table", "collect a sweep's variants", _sweep_table)
    add("--variants", required=True, help="JSON: settings of each variant")
    add("--settings", required=True, nargs="+", type=Path)
    add("--out", required=True, type=Path)

    add = _command(commands, "tables", "rows -> tables", _tables)
    add("--experiment", required=True, help="JSON: what the reports need to know")
    add("--root", required=True, type=Path, help="results/<experiment>")

    add = _command(commands, "coverage", "how often intervals hold the truth, simulated", _coverage)
    add("--repeats", default=500, type=int, help="synthetic experiments of each kind")
    add("--out", required=True, type=Path)

    add = _command(commands, "figures", "tables -> figures", _figures)
    add("--root", required=True, type=Path)

    add = _command(commands, "report", "tables and figures -> PDF", _report)
    add("--root", required=True, type=Path)
    add("--name", required=True)
    add("--out", required=True, type=Path)

    add = _command(commands, "import", "analyse published answer files again", _import)
    add(
        "--answers",
        required=True,
        action="append",
        metavar="NAME=FILE",
        help="answers of one run, JSONL of FastChat, Medusa or Spec-Bench; may be repeated",
    )
    add("--out", required=True, type=Path, help="folder of the tables")

    add = _command(commands, "keep", "keep an experiment's rows and tables, compressed", _keep)
    add("--root", required=True, type=Path)
    add("--out", required=True, type=Path, help="a new folder")
    add("--prompts", action="store_true", help="the frozen test prompts too")

    add = _command(commands, "unpack", "lay kept rows out for analysing them again", _unpack)
    add("--kept", required=True, type=Path)
    add("--root", required=True, type=Path)


def _command(commands: Any, name: str, text: str, run: Any) -> Any:
    parser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(run=run)
    return parser.add_argument


# torch and transformers take seconds to import: each step imports what it needs, so that the
# analysis steps never do.


def _use_threads(count: int) -> None:
    """Set torch's thread count; recorded with every row's fingerprint."""
    import torch

    torch.set_num_threads(count)


def _json(text: str, what: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise HarnessError(f"{what}: expected JSON, found {text[:60]!r} ({error})") from None


def _arms(text: str) -> dict[str, Any]:
    from methods import METHODS, load_method

    arms = {}
    for name, settings in _json(text, "--methods").items():
        if name not in METHODS:
            raise HarnessError(f"method '{name}': expected one of {', '.join(METHODS)}")
        arms[name] = (load_method(name), settings or {})
    return arms


def _spec(text: str) -> Any:
    from harness.models import ModelSpec

    try:
        return ModelSpec(**_json(text, "--model"))
    except TypeError as error:
        raise HarnessError(f"model: {error}") from None


def _check(options: argparse.Namespace) -> None:
    from harness.commands.methods import check_methods

    check_methods(_arms(options.methods), options.out)


def _stand_in(options: argparse.Namespace) -> None:
    from harness.commands.stand_in import make_stand_in

    make_stand_in(options.dataset, options.split, options.count, options.seed, options.out)


def _rebuild(options: argparse.Namespace) -> None:
    from harness.mini.target import build, phases

    _use_threads(options.threads)
    print(build(phases(options.seed, options.tokens), options.out))


def _pretrain(options: argparse.Namespace) -> None:
    from harness.pretrain.corpus import build

    _use_threads(options.threads)
    print(build(_json(options.recipe, "--recipe"), options.out))


def _split(text: str) -> Any:
    from harness.commands.prompts import Split

    return Split(**_json(text, "--split"))


def _first_turns(options: argparse.Namespace) -> None:
    from harness.commands.prompts import answer_first_turns

    _use_threads(options.threads)
    answer_first_turns(_spec(options.model), _split(options.split), options.cap, options.out)


def _freeze(options: argparse.Namespace) -> None:
    from harness.commands.prompts import freeze_prompts

    freeze_prompts(_spec(options.model), _split(options.split), options.first_turns, options.out)


def _answer(options: argparse.Namespace) -> None:
    from harness.commands.prompts import answer_prompts

    _use_threads(options.threads)
    caps = _json(options.caps, "--caps")
    answer_prompts(_spec(options.model), options.prompts, caps, options.out)


def _method_step(options: argparse.Namespace, run: Any) -> None:
    from harness.commands.methods import MethodStep, TuneData

    _use_threads(options.threads)
    settings = _json(options.settings, "--settings")
    method, settings = _arms(json.dumps({options.method: settings}))[options.method]
    step = MethodStep(
        options.method, method, settings, options.folder, options.seed, options.budget
    )
    caps = _json(options.caps, "--caps")
    data = TuneData(options.train_answers, options.tune_answers, options.prompts, caps)
    run(_spec(options.model), step, data)


def _train(options: argparse.Namespace) -> None:
    from harness.commands.methods import train_method

    _method_step(options, train_method)


def _tune(options: argparse.Namespace) -> None:
    from harness.commands.methods import tune_method

    _method_step(options, tune_method)


def _curve(options: argparse.Namespace) -> None:
    from harness.commands.curve import Sizes, write_curve
    from harness.commands.methods import MethodStep, TuneData

    _use_threads(options.threads)
    steps = [
        MethodStep(name, method, settings, options.folders / name, options.seed)
        for name, (method, settings) in _arms(options.methods).items()
    ]
    caps = _json(options.caps, "--caps")
    data = TuneData(options.train_answers, options.tune_answers, options.prompts, caps)
    sizes = Sizes(options.largest, options.timed)
    write_curve(_spec(options.model), steps, data, sizes, options.out)


def _profile(options: argparse.Namespace) -> None:
    from harness.commands.profile import Watched, write_profile

    _use_threads(options.threads)
    caps = _json(options.caps, "--caps")
    watched = Watched(options.prompts, caps, options.folders, options.count)
    write_profile(_spec(options.model), _arms(options.methods), watched, options.out)


def _session(options: argparse.Namespace) -> None:
    from harness.commands.session import SessionFiles, measure_session

    _use_threads(options.threads)
    files = SessionFiles(options.prompts, options.warmup, options.folders, options.out)
    arms = _arms(options.methods)
    measure_session(_spec(options.model), arms, files, _json(options.options, "--options"))


def _sweep_table(options: argparse.Namespace) -> None:
    from harness.analysis.sweep import write_sweep

    write_sweep(_json(options.variants, "--variants"), options.settings, options.out)


def _tables(options: argparse.Namespace) -> None:
    from harness.analysis.tables import write_tables

    write_tables(_json(options.experiment, "--experiment"), options.root)


def _coverage(options: argparse.Namespace) -> None:
    from harness.analysis.coverage import write_coverage

    write_coverage(options.repeats, options.out)


def _figures(options: argparse.Namespace) -> None:
    from harness.presentation.figures import write_figures

    write_figures(options.root)


def _report(options: argparse.Namespace) -> None:
    from harness.presentation.report import write_report

    write_report(options.root, options.name, options.out)


def _import(options: argparse.Namespace) -> None:
    from harness.commands.published import import_runs

    import_runs(options.answers, options.out)


def _keep(options: argparse.Namespace) -> None:
    from harness.commands.keep import keep

    keep(options.root, options.out, prompts=options.prompts)


def _unpack(options: argparse.Namespace) -> None:
    from harness.commands.keep import unpack

    unpack(options.kept, options.root)


if __name__ == "__main__":
    sys.exit(main())
