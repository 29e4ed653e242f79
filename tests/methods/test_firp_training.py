"""Training FIRP: it learns, resumes where it was killed, and runs on a half-precision target."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from harness.decoder import Request, collect
from harness.engine.drafter import Drafter
from harness.engine.loop import EngineDecoder
from harness.engine.target import Target
from harness.errors import HarnessError
from harness.method import Answer, Job
from methods.firp import METHOD
from methods.firp.projections import Projections, load
from methods.firp.settings import FirpSettings
from methods.firp.streams import Streams
from methods.firp.training import train
from methods.shared import training
from tests.models import VOCAB, tiny_model

SETTINGS = FirpSettings(
    entry_layers=(1, 2),
    training_steps=6,
    batch=2,
    evaluate_every=2,
    drafts=(2,),
    policies=("static",),
)


def answers(target: Target, count: int = 6) -> list[Answer]:
    """The tiny target's own answers to prompts of different lengths."""
    found = []
    for seed in range(count):
        prompt = tuple((7 * i + 5 * seed + 1) % VOCAB for i in range(4 + seed))
        request = Request(prompt, 12, frozenset())
        found.append(Answer(prompt, tuple(collect(EngineDecoder(target, Drafter()), request)[0])))
    return found


def job(target: Target, folder: Path) -> Job:
    own = answers(target)
    requests = [Request(a.prompt, 12, frozenset()) for a in own]
    return Job(target, SETTINGS, folder, 0, own, own, requests)


def test_a_gradient_that_overflows_is_skipped_and_the_scale_falls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model("llama").__class__(tiny_model("llama").config).to(torch.float16)
    own = job(Target(model), tmp_path)
    maps = Projections(SETTINGS.layout, own.target.hidden_size)
    learner = training.Learner("firp", maps, Streams(own.target, maps).predict, 2)
    updates = training.Updates(own, learner, rate=0.1)
    before = [p.clone() for p in maps.parameters()]
    loss = training._loss
    with monkeypatch.context() as patched:
        patched.setattr(training, "_loss", lambda *given: 1e30 * loss(*given))
        training._step(own, learner, updates, 0)
    assert all(torch.equal(p, was) for p, was in zip(maps.parameters(), before, strict=True))
    assert updates.state()["scale"]["scale"] == training.LOSS_SCALE / 2
    training._step(own, learner, updates, 0)
    assert not any(torch.equal(p, was) for p, was in zip(maps.parameters(), before, strict=True))


def test_a_tune_loss_that_is_no_number_ends_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure = training.measure
    monkeypatch.setattr(training, "measure", lambda *a: replace(measure(*a), loss=float("nan")))
    with pytest.raises(HarnessError, match="firp training: tune loss is nan at step 0, expected"):
        train(job(Target(tiny_model("llama")), tmp_path))
    assert not (tmp_path / training.CHECKPOINT).exists()


def test_training_lowers_the_loss_and_leaves_the_target_alone(tmp_path: Path) -> None:
    target = Target(tiny_model("llama"))
    before = {n: p.clone() for n, p in target.model.named_parameters()}
    train(job(target, tmp_path))
    rows = (tmp_path / "curves.csv").read_text().splitlines()
    losses = [float(line.split(",")[rows[0].split(",").index("tune_loss")]) for line in rows[1:]]
    assert min(losses) < losses[0]
    for name, parameter in target.model.named_parameters():
        assert torch.equal(parameter, before[name])
        assert parameter.grad is None


def test_a_killed_training_ends_in_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = Target(tiny_model("llama"))
    train(job(target, tmp_path / "whole"))
    save = training._save_checkpoint

    def save_and_die(*arguments) -> None:  # type: ignore[no-untyped-def]
        save(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "_save_checkpoint", save_and_die)
    with pytest.raises(KeyboardInterrupt):
        train(job(target, tmp_path / "killed"))
    monkeypatch.setattr(training, "_save_checkpoint", save)
    assert (tmp_path / "killed" / training.CHECKPOINT).is_file()
    train(job(target, tmp_path / "killed"))
    whole, resumed = (load(tmp_path / name, 32) for name in ("whole", "killed"))
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(value, resumed.state_dict()[name], rtol=0, atol=0)
    assert not (tmp_path / "killed" / training.CHECKPOINT).exists()


def test_train_tune_and_decode_on_a_bfloat16_target(tmp_path: Path) -> None:
    target = Target(tiny_model("llama").__class__(tiny_model("llama").config).to(torch.bfloat16))
    work = job(target, tmp_path)
    train(work)
    assert METHOD.tune is not None
    METHOD.tune(work)
    decoder = METHOD.build(target, SETTINGS, tmp_path)
    tokens, _ = collect(decoder, work.requests[0])
    assert len(tokens) == 12


def test_small_gradients_survive_a_float16_target(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gradients of a large target are as small as these, scaled down by 1e-5."""
    loss, usual = training._loss, training.LOSS_SCALE
    work = job(Target(tiny_model("llama")), tmp_path)
    monkeypatch.setattr(training, "_loss", lambda *given: 1e-5 * loss(*given))

    def gradient(dtype: torch.dtype, scale: float) -> torch.Tensor:
        monkeypatch.setattr(training, "LOSS_SCALE", scale)
        model = tiny_model("llama").__class__(tiny_model("llama").config)
        model.load_state_dict(tiny_model("llama").state_dict())
        target = Target(model.to(dtype))
        target.model.requires_grad_(False)
        maps = Projections(SETTINGS.layout, target.hidden_size)
        learner = training.Learner("firp", maps, Streams(target, maps).predict, 2)
        own = replace(work, target=target)
        training._step(own, learner, training.Updates(own, learner, rate=0.0), 0)
        return torch.cat([p.grad.flatten() for p in maps.parameters() if p.grad is not None])

    exact = gradient(torch.float32, 1.0)
    off, lost = (
        float((gradient(torch.float16, scale) - exact).norm() / exact.norm())
        for scale in (usual, 1.0)
    )
    assert off < 0.05
    assert lost > 5 * off, "control: unscaled, the smallest are rounded away"


def test_without_answers_training_says_so(tmp_path: Path) -> None:
    target = Target(tiny_model("llama"))
    with pytest.raises(HarnessError, match="no answers of the target"):
        train(Job(target, SETTINGS, tmp_path, 0))
