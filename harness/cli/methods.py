"""Checking, training, tuning, timing and watching methods."""

import argparse
from pathlib import Path
from typing import Any

from harness.cli.common import (
    command,
    parse_arms,
    parse_caps,
    parse_json,
    parse_spec,
    use_threads,
)
from harness.experiment.arms import Settings, parse_arm
from harness.experiment.steps import SessionStep
from harness.files import checked


def add(commands: Any) -> None:
    """Steps that check, train, tune and time methods."""
    add = command(commands, "check", "parse every method's settings", _check)
    add("--methods", required=True, nargs="+", help="JSON: method -> settings; one a model")
    add("--out", required=True, type=Path)

    for name, text, run in (
        ("train", "train a method's own parameters", _train),
        ("tune", "choose a method's setting on the tune split", _tune),
    ):
        add = command(commands, name, text, run)
        add("--method", required=True)
        add("--settings", required=True, help="JSON: the method's settings")
        add("--model", required=True)
        add("--train-answers", type=Path, required=name == "train")
        add("--tune-answers", required=True, type=Path)
        add("--prompts", nargs="*", default=[], type=Path, help="tune prompts")
        add("--caps", default="{}")
        add("--forwards", type=Path, help="what `cost` wrote, to foretell candidates by")
        add("--seed", default=0, type=int)
        add("--budget", type=float, help="wall seconds for training and tuning together")
        add("--folder", required=True, type=Path)

    add = command(commands, "take-parts", "check ready-made parts, put them in place", _take_parts)
    add("--methods", required=True, help="JSON: method -> settings")
    add("--model", required=True)
    add("--parts", required=True, type=Path, help="folder of parts with their record")
    add("--folders", required=True, type=Path)

    add = command(commands, "share-parts", "put an arm's trained parts beside a variant", _share)
    add("--trained", required=True, type=Path, help="folder that a training wrote")
    add("--folder", required=True, type=Path, help="folder of the arm that uses it")

    add = command(commands, "collect-parts", "what was trained, as parts to ship", _collect_parts)
    add("--methods", required=True, help="JSON: method -> settings")
    add("--folders", required=True, type=Path)
    add("--out", required=True, type=Path)

    add = command(commands, "curve", "draft size against acceptance and speed", _curve)
    add("--methods", required=True, help="JSON: method -> settings")
    add("--largest", required=True, type=int, help="draft tokens a step, at most")
    add("--timed", nargs="*", default=[], type=int, help="sizes that are timed")
    add("--model", required=True)
    add("--train-answers", type=Path)
    add("--tune-answers", required=True, type=Path)
    add("--prompts", required=True, nargs="+", type=Path, help="tune prompts")
    add("--caps", required=True)
    add("--seed", default=0, type=int)
    add("--folders", required=True, type=Path)
    add("--out", required=True, type=Path)

    add = command(commands, "profile", "decode time of each arm by phase", _profile)
    add("--model", required=True)
    add("--methods", required=True, help="JSON: arm -> settings")
    add("--prompts", required=True, nargs="+", type=Path, help="tune prompts")
    add("--caps", required=True, help="JSON: dataset -> new tokens at most")
    add("--count", required=True, type=int, help="prompts decoded")
    add("--folders", required=True, type=Path)
    add("--out", required=True, type=Path)

    add = command(commands, "cost", "cost of a forward by rows and context", _cost)
    add("--model", required=True)
    add("--prompts", required=True, nargs="+", type=Path, help="tune prompts")
    add("--caps", required=True, help="JSON: dataset -> new tokens at most")
    add("--out", required=True, type=Path)

    add = command(commands, "session", "time all arms on one dataset", _session)
    add("--model", required=True)
    add("--methods", required=True, help="JSON: arm -> settings")
    add("--options", required=True, help="JSON: labels, seed, max_new_tokens, warmup")
    add("--prompts", required=True, type=Path)
    add("--warmup", required=True, type=Path)
    add("--folders", required=True, type=Path)
    add("--out", required=True, type=Path)


def _check(options: argparse.Namespace) -> None:
    from harness.commands.methods import check_methods

    check_methods([parse_arms(text) for text in options.methods], options.out)


def _method_step(options: argparse.Namespace, run: Any) -> None:
    from harness.commands.methods import MethodStep, TuneData

    use_threads(options.threads)
    settings = checked(Settings, parse_json(options.settings, "--settings"), "--settings")
    arm = parse_arm(options.method, settings)
    step = MethodStep(arm, options.folder, options.seed, options.budget)
    caps = parse_caps(options.caps)
    data = TuneData(
        options.train_answers, options.tune_answers, options.prompts, caps, options.forwards
    )
    run(parse_spec(options.model), step, data)


def _train(options: argparse.Namespace) -> None:
    from harness.commands.methods import train_method

    _method_step(options, train_method)


def _tune(options: argparse.Namespace) -> None:
    from harness.commands.methods import tune_method

    _method_step(options, tune_method)


def _take_parts(options: argparse.Namespace) -> None:
    from harness.commands.parts import take_parts

    arms = parse_arms(options.methods)
    take_parts(parse_spec(options.model), arms, options.parts, options.folders)


def _share(options: argparse.Namespace) -> None:
    from harness.commands.parts import share_parts

    share_parts(options.trained, options.folder)


def _collect_parts(options: argparse.Namespace) -> None:
    from harness.commands.parts import collect_parts

    collect_parts(parse_arms(options.methods), options.folders, options.out)


def _curve(options: argparse.Namespace) -> None:
    from harness.commands.curve import Sizes, write_curve
    from harness.commands.methods import MethodStep, TuneData

    use_threads(options.threads)
    steps = [
        MethodStep(arm, options.folders / name, options.seed)
        for name, arm in parse_arms(options.methods).items()
    ]
    caps = parse_caps(options.caps)
    data = TuneData(options.train_answers, options.tune_answers, options.prompts, caps)
    sizes = Sizes(options.largest, options.timed)
    write_curve(parse_spec(options.model), steps, data, sizes, options.out)


def _profile(options: argparse.Namespace) -> None:
    from harness.commands.profile import Watched, write_profile

    use_threads(options.threads)
    caps = parse_caps(options.caps)
    watched = Watched(options.prompts, caps, options.folders, options.count)
    write_profile(parse_spec(options.model), parse_arms(options.methods), watched, options.out)


def _cost(options: argparse.Namespace) -> None:
    from harness.commands.cost import write_cost

    use_threads(options.threads)
    caps = parse_caps(options.caps)
    write_cost(parse_spec(options.model), options.prompts, caps, options.out)


def _session(options: argparse.Namespace) -> None:
    from harness.commands.session import SessionFiles, measure_session

    use_threads(options.threads)
    files = SessionFiles(options.prompts, options.warmup, options.folders, options.out)
    arms = parse_arms(options.methods)
    step = checked(SessionStep, parse_json(options.options, "--options"), "--options")
    measure_session(parse_spec(options.model), arms, files, step)
