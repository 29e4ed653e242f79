"""mini's ready-made parts: unchanged, of its target, and as good as their record says."""

import json
from pathlib import Path
from typing import Any

import pytest

from harness.commands.parts import RECORD, take_parts
from harness.commands.prompts import answer_prompts, freeze_splits
from harness.commands.stand_in import make_stand_in
from harness.data.answers import read_answers
from harness.engine.target import Target
from harness.experiment.arms import Arms, parse_arm
from harness.experiment.steps import Freeze, Source, Split
from harness.method import Answer
from harness.models import ModelSpec, load_target
from methods.firp.projections import load as load_maps
from methods.firp.streams import Streams
from methods.medusa.heads import load_heads
from methods.medusa.training import predictor
from methods.shared.accuracy import Predict, measure
from tests.workflow.test_config import _config

ROOT = Path(__file__).resolve().parents[2]
PARTS = ROOT / "workflows/resources/mini-parts"
SPEC = ModelSpec(path=str(ROOT / "workflows/resources/mini-target"))
KNOWN: dict[str, Any] = json.loads((PARTS / RECORD).read_text())["parts"]
MINI = _config("mini")
MOST_BYTES = 12 << 20


@pytest.fixture(scope="module")
def target() -> Target:
    return load_target(SPEC)


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> list[Answer]:
    """The target's answers to the tune split, as the workflow makes them."""
    folder = tmp_path_factory.mktemp("tune")
    frozen, caps = [], {}
    for name, spec in MINI["datasets"].items():
        questions = folder / f"{name}.questions.jsonl"
        make_stand_in(name, "tune", spec["stand_in"]["tune"], MINI["seed"], questions)
        split = Split(name, Source(str(questions)), spec["longest_prompt"])
        caps[name] = spec["max_new_tokens"]
        turns = str(folder / "turns.json") if name == "mtbench" else None
        frozen.append(Freeze(split, str(folder / f"{name}.jsonl"), turns, caps[name]))
    freeze_splits(SPEC, frozen)
    prompts, out = [Path(one.out) for one in frozen], folder / "answers.jsonl"
    answer_prompts(SPEC, prompts, [folder / "turns.json"], caps, out)
    return read_answers(out)


def test_they_are_what_the_record_says_and_fit_the_config(tmp_path: Path) -> None:
    arms: Arms = {
        name: parse_arm(name, MINI["methods"].get(name))
        for name in ("firp", "medusa", "self_speculative", "hf_assisted")
    }
    take_parts(SPEC, arms, PARTS, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(arms) == set(KNOWN)
    held = sum(file.stat().st_size for file in PARTS.rglob("*") if file.is_file())
    assert held <= MOST_BYTES
    recorded = {f"{name}/{file}" for name, part in KNOWN.items() for file in part["files"]}
    there = {str(f.relative_to(PARTS)) for f in PARTS.rglob("*") if f.is_file()} - {RECORD}
    assert there == recorded, "nothing that no record vouches for"


def test_all_learnt_for_the_same_seconds() -> None:
    seconds = [part["training_seconds"] for part in KNOWN.values()]
    assert max(seconds) < 1.1 * min(seconds)
    assert len({part["data_hash"] for part in KNOWN.values()}) == 1


@pytest.mark.parametrize("name", ["firp", "medusa"])
def test_they_predict_as_well_as_when_they_were_trained(
    target: Target, answers: list[Answer], name: str
) -> None:
    """The recorded tune loss and accuracies, reached again; an untrained part is far from them."""
    config = json.loads((PARTS / name / "config.json").read_text())
    trained, untrained = _predictors(target, name)
    found = measure(trained, answers, len(config["top1"]), target.device)
    blank = measure(untrained, answers, len(config["top1"]), target.device)
    # Near ties of the target may fall otherwise on another machine, and change a few answers.
    assert found.loss == pytest.approx(KNOWN[name]["tune_loss"], rel=0.02)
    assert found.top1 == pytest.approx(config["top1"], abs=0.01)
    assert blank.loss > 3 * found.loss, "control"


def _predictors(target: Target, name: str) -> tuple[Predict, Predict]:
    """As shipped, and with nothing learnt."""
    if name == "firp":
        maps = load_maps(PARTS / name, target.hidden_size, target.weights_hash)
        blank = type(maps)(maps.layout, target.hidden_size)
        return Streams(target, maps).predict, Streams(target, blank).predict
    heads = load_heads(target, PARTS / name)
    blank = type(heads)(heads.count, heads.layers, target.model.lm_head.weight.detach())
    loss = MINI["methods"][name].get("loss", "cross_entropy")
    return predictor(target, heads, loss), predictor(target, blank, loss)
