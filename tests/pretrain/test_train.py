"""Training a target: a killed run ends in the weights of an unbroken one."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.errors import HarnessError
from harness.files import write_jsonl
from harness.pretrain import train
from harness.pretrain.corpus import build
from harness.pretrain.packing import Batch, Encoded, pack
from harness.pretrain.train import Recipe, Shape, new_target, train_target

SHAPE = Shape(layers=1, width=16, heads=2, inner=24, vocab=31, context=32)
RECIPE = Recipe(tokens=120 * 2 * 16, rows=2, length=16)


def batches(seed: int = 0) -> Iterator[Batch]:
    generator = torch.Generator().manual_seed(seed)

    def documents() -> Iterator[Encoded]:
        while True:
            ids = torch.randint(0, 31, (8,), generator=generator).sort().values.tolist()
            yield Encoded(ids, [1.0] * 8)

    return pack(documents(), 2, 16, 0)


def trained(folder: Path, stream: Iterator[Batch]) -> dict[str, torch.Tensor]:
    folder.mkdir(exist_ok=True)
    model = new_target(SHAPE, 1, 0, seed=0)
    held_out = [next(batches(9))]
    before = train.held_out_loss(model, held_out)
    after, _ = train_target(model, stream, held_out, RECIPE, folder / "log.jsonl")
    train.finish(folder / "log.jsonl")
    assert after < before
    assert len((folder / "log.jsonl").read_text().splitlines()) == 3
    assert not list(folder.glob("*.pt"))
    return model.state_dict()


@pytest.mark.parametrize(("best", "ends"), [(True, 0), (False, 2)])
def test_the_best_weights_are_kept_where_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, best: bool, ends: int
) -> None:
    """The held-out loss is made to rise; ``ends``: the evaluation whose weights the model has."""
    model, seen, losses = new_target(SHAPE, 1, 0, seed=0), [], iter([1.0, 2.0, 3.0, 0.0])

    def rising(module: torch.nn.Module, _: list[Batch]) -> float:
        seen.append({name: value.clone() for name, value in module.state_dict().items()})
        return next(losses)

    monkeypatch.setattr(train, "held_out_loss", rising)
    train_target(model, batches(), [], replace(RECIPE, best=best), tmp_path / "log.jsonl")
    assert len(seen) == 4, "three in the training, one at its end"
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, seen[ends][name], rtol=0, atol=0)
    assert any(not torch.equal(seen[0][name], seen[2][name]) for name in seen[0]), "control"


def _until(stream: Iterator[Batch], last: int) -> Iterator[Batch]:
    for index, batch in enumerate(stream):
        if index == last:
            raise KeyboardInterrupt
        yield batch


def test_a_killed_training_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = trained(tmp_path / "whole", batches())
    (tmp_path / "killed").mkdir()
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "killed", _until(batches(), 70))
    assert list((tmp_path / "killed").glob("*.pt"))
    steps, step = [], train._train_step
    monkeypatch.setattr(train, "_train_step", lambda *given: steps.append(1) or step(*given))
    for name, value in trained(tmp_path / "killed", batches()).items():
        torch.testing.assert_close(value, whole[name], rtol=0, atol=0)
    assert len(steps) == 120 - 50, "from the last checkpoint on, not from the start"


@pytest.mark.parametrize("killed", [False, True])
def test_a_training_by_seconds_takes_what_was_left_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed: bool
) -> None:
    now, recipe = [0.0], replace(RECIPE, seconds=200.0)
    step = train._train_step

    def slow(*given: Any) -> float:
        now[0] += 1.0
        return step(*given)

    monkeypatch.setattr(train, "_train_step", slow)
    monkeypatch.setattr(train.time, "monotonic", lambda: now[0])
    held_out, log, steps = [next(batches(9))], tmp_path / "log.jsonl", 200.0
    if killed:
        with pytest.raises(KeyboardInterrupt):
            train_target(new_target(SHAPE, 1, 0, 0), _until(batches(), 70), held_out, recipe, log)
        now[0], steps = 1000.0, 150.0  # what came after the checkpoint at 50 is lost
    began = now[0]
    _, seconds = train_target(new_target(SHAPE, 1, 0, 0), batches(), held_out, recipe, log)
    assert (now[0] - began, seconds) == (steps, 200.0)


def test_the_best_weights_so_far_survive_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The held-out loss is lowest at the first checkpoint, before the training is killed."""
    seen: list[dict[str, torch.Tensor]] = []

    def rising(module: torch.nn.Module, _: list[Batch]) -> float:
        seen.append({name: value.clone() for name, value in module.state_dict().items()})
        return float(len(seen))

    monkeypatch.setattr(train, "held_out_loss", rising)
    given = ([], replace(RECIPE, best=True), tmp_path / "log.jsonl")
    with pytest.raises(KeyboardInterrupt):
        train_target(new_target(SHAPE, 1, 0, 0), _until(batches(), 70), *given)
    model = new_target(SHAPE, 1, 0, 0)
    train_target(model, batches(), *given)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, seen[0][name], rtol=0, atol=0)
    assert any(not torch.equal(seen[0][name], seen[-2][name]) for name in seen[0]), "control"


def test_a_checkpoint_of_other_text_is_not_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = trained(tmp_path / "whole", batches(1))
    (tmp_path / "other").mkdir()
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "other", _until(batches(0), 70))
    for name, value in trained(tmp_path / "other", batches(1)).items():
        torch.testing.assert_close(value, whole[name], rtol=0, atol=0)
    assert "of another configuration" in capsys.readouterr().out


def test_a_checkpoint_measured_on_other_held_out_text_is_not_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def begun(held_out: list[Batch]) -> None:
        """A training that is killed after its first checkpoint."""
        with pytest.raises(KeyboardInterrupt):
            model = new_target(SHAPE, 1, 0, seed=0)
            stream = _until(batches(0), 70)
            train_target(model, stream, held_out, RECIPE, tmp_path / "log.jsonl")

    for _ in range(2):
        begun([next(batches(9))])
    assert "of another configuration" not in capsys.readouterr().out, "control"
    begun([next(batches(8))])
    assert "of another configuration" in capsys.readouterr().out


def test_questions_that_are_all_too_long_are_refused_in_one_line(tmp_path: Path) -> None:
    records = [{"question": "how many? " * 40, "answer": f"#### {n}"} for n in range(70)]
    write_jsonl(tmp_path / "set.jsonl", records)
    recipe = {
        "sources": {"gsm8k": {"path": str(tmp_path / "set.jsonl")}},
        "shape": {"layers": 1, "width": 16, "heads": 2, "inner": 24, "vocab": 300, "context": 32},
        "training": {"tokens": 1000, "rows": 2, "length": 16},
    }
    with pytest.raises(
        HarnessError, match="pretrain: 0 answered questions of at most 16 tokens, expected more"
    ):
        build(recipe, tmp_path / "target")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"prompt_wieght": 0.3}, "pretrain: prompt_wieght: .*, found 0.3"),
        ({"prompt_weight": "high"}, "pretrain: prompt_weight: .* found 'high'"),
        ({"training": {"tokens": "10M"}}, "pretrain: training.tokens: .* found '10M'"),
        ({"shape": {"layer": 2}}, "pretrain: shape.layer: .* found 2"),
    ],
)
def test_a_recipe_is_checked_key_by_key(tmp_path: Path, change: dict, said: str) -> None:
    with pytest.raises(HarnessError, match=said):
        build({"sources": {}} | change, tmp_path / "target")
    assert not (tmp_path / "target").exists()
