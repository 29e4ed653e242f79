"""What a training gave, beside its untrained start and a table of bigrams."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from harness.engine.target import Target
from harness.files import write_json
from harness.method import Answer
from methods import load_method
from methods.shared.learnt import Bigrams
from tests.methods.test_firp_training import job
from tests.models import tiny_model


@pytest.mark.parametrize("shipped", [False, True])
def test_medusa_is_compared_with_heads_that_learnt_nothing(
    tmp_path: Path, *, shipped: bool
) -> None:
    method = load_method("medusa")
    settings = method.settings(
        heads=3, training_steps=60, batch=2, evaluate_every=20, learning_rate=0.01
    )
    own = replace(job(Target(tiny_model("llama")), tmp_path), settings=settings)
    assert method.train is not None
    assert method.examine is not None
    method.train(own)
    write_json(tmp_path / "setting.json", {"drafts": 3})
    # As where a try with other heads was the best: the settings that are configured say fewer.
    examined = replace(own, settings=replace(settings, heads=2, layers=2))
    method.examine(replace(examined, train=()) if shipped else examined)
    learnt = pd.read_csv(tmp_path / "learnt.csv").set_index("drafter")
    assert list(learnt.index) == ["trained", "untrained", *([] if shipped else ["bigram"])]
    assert (learnt["draft_size"] == 3).all()
    lengths = learnt["acceptance_length"]
    assert lengths["trained"] > lengths["untrained"], "it learnt these very answers"
    assert learnt["trained_over_it"].to_list() == pytest.approx(
        (lengths["trained"] / lengths).to_list(), abs=1e-3
    )


def test_bigrams_accept_what_follows_from_the_token_before_alone() -> None:
    circle = Answer((3,), (0, 1, 2, 3, 0, 1, 2, 3, 0))
    assert Bigrams([circle]).replay([circle], 3, 3).acceptance_length == 4
    assert Bigrams([circle]).replay([circle], 2, 3).acceptance_length == pytest.approx(8 / 3)
    other = Answer((3,), (0, 2, 0, 2, 0))
    assert Bigrams([circle]).replay([other], 3, 3).acceptance_length == 1, "control"
