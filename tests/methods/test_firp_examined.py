"""What is told of FIRP's training: similarities and controls, and drafters that learnt less."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch.nn.functional import cosine_similarity

from harness.engine.target import Target
from harness.files import write_json
from methods.firp import METHOD
from methods.firp.projections import Projections
from methods.firp.similarity import Cosines, add_similarities, add_today
from methods.firp.streams import Streams
from tests.methods.test_firp_training import SETTINGS, answers, job, train
from tests.models import tiny_model


def similarities(target: Target, size: int) -> dict[tuple[object, ...], tuple[float, int]]:
    streams = Streams(target, Projections(SETTINGS.layout, target.hidden_size))
    found, own = Cosines(), answers(target)
    add_similarities(found, "identity", streams, own, size)
    add_today(found, streams, own, size)
    return {line[:4]: line[4:] for line in found.lines()}


def plain_states(target: Target, ids: list[int]) -> dict[int, torch.Tensor]:
    """What leaves each layer, by hooks on the model's own forward."""
    left: dict[int, torch.Tensor] = {}
    hooks = [
        layer.register_forward_hook(
            lambda _m, _i, out, at=at: left.update({at: out[0] if isinstance(out, tuple) else out})
        )
        for at, layer in enumerate(target.model.model.layers)
    ]
    with torch.no_grad():
        target.model(input_ids=torch.tensor([ids]), use_cache=False)
    for hook in hooks:
        hook.remove()
    return {at: states.reshape(len(ids), -1) for at, states in left.items()}


def test_today_s_similarity_is_that_of_the_model_s_own_states() -> None:
    target = Target(tiny_model("llama"))
    found = similarities(target, 2)
    for step in (1, 2):
        for layer in (0, 1, len(target.layers) - 1):
            values = []
            for one in answers(target):
                ids = [*one.prompt, *one.answer]
                states = plain_states(target, ids)[layer]
                first = len(one.prompt) - 1
                values += [
                    cosine_similarity(states[at], states[at + step], dim=0).item()
                    for at in range(first, len(ids) - 1 - step)
                ]
            mean, count = found["today", "all", step, layer]
            assert count == len(values)
            assert mean == pytest.approx(sum(values) / len(values), abs=1e-4)


def test_right_and_wrong_drafts_make_up_all_of_them() -> None:
    target = Target(tiny_model("llama"))
    found, other = similarities(target, 2), similarities(target, 5)
    for place, (mean, count) in found.items():
        assert other[place] == (pytest.approx(mean, abs=1e-4), count), "whatever the batches"
    whole = [place for place in found if place[:2] == ("identity", "all")]
    assert whole
    for _, _, step, layer in whole:
        parts = [
            found.get(("identity", kind, step, layer), (0.0, 0)) for kind in ("right", "wrong")
        ]
        mean, count = found["identity", "all", step, layer]
        assert sum(n for _, n in parts) == count
        assert sum(m * n for m, n in parts) / count == pytest.approx(mean, abs=1e-4)


@pytest.mark.parametrize("shipped", [False, True])
def test_the_tables_hold_every_drafter_and_control(tmp_path: Path, *, shipped: bool) -> None:
    own = job(Target(tiny_model("llama")), tmp_path)
    train(own)
    write_json(tmp_path / "setting.json", {"drafts": 3})
    assert METHOD.examine is not None
    METHOD.examine(replace(own, train=() if shipped else own.train))
    cosine, learnt = pd.read_csv(tmp_path / "cosine.csv"), pd.read_csv(tmp_path / "learnt.csv")
    assert set(cosine["states"]) == {"firp", "identity", "today"}
    assert set(cosine["drafts"]) <= {"all", "right", "wrong"}
    assert list(learnt["drafter"]) == ["trained", "untrained", *([] if shipped else ["bigram"])]
    assert (learnt["draft_size"] == 3).all()
