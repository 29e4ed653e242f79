"""Methods whose drafts follow their parents learn, are tuned, and are read as they were written."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from harness.decoder import collect
from harness.engine import Target
from harness.errors import HarnessError
from harness.files import write_json
from harness.method import Job
from methods import load_method
from methods.chimera import net as chimera
from methods.eagle import net as eagle
from methods.firp import projections as firp
from methods.hydra import heads as hydra
from methods.shared import training
from tests.methods.drafters import chimera_net, eagle_net, hydra_heads, random_maps
from tests.methods.test_firp_training import job as firp_job
from tests.models import tiny_model

SHORT: dict[str, Any] = {"training_steps": 30, "batch": 2, "evaluate_every": 10, "drafts": (3,)}
TRAINED: dict[str, tuple[str, dict[str, Any]]] = {
    "hydra": ("hydra", {"heads": 3, "learning_rate": 5e-3}),
    "hydra_plus": ("hydra", {"heads": 3, "layers": 4, "prefix": True, "learning_rate": 2e-3}),
    "eagle": ("eagle", {"learning_rate": 2e-3, "depth": 3}),
    "eagle_random": ("eagle", {"learning_rate": 2e-3, "depth": 3, "start": "random"}),
    "chimera": ("chimera", {"heads": 3, "learning_rate": 2e-3}),
    "chimera_kl": ("chimera", {"heads": 3, "learning_rate": 2e-3, "loss": "kl"}),
    "chimera_shared": ("chimera", {"heads": 3, "learning_rate": 2e-3, "head": "shared"}),
    "firp_parents": ("firp", {"entry_layers": (1, 1), "learning_rate": 5e-3, "parents": 8}),
}


def trained(name: str, folder: Path) -> tuple[Any, Job]:
    """The method and the job, after its training."""
    method_name, options = TRAINED[name]
    method = load_method(method_name)
    plain = firp_job(Target(tiny_model("llama")), folder)
    own = replace(plain, settings=method.settings(**SHORT, **options))
    assert method.train is not None
    method.train(own)
    return method, own


@pytest.mark.parametrize("name", TRAINED)
def test_training_and_tuning_give_a_decoder(name: str, tmp_path: Path) -> None:
    method, own = trained(name, tmp_path)
    facts = json.loads((tmp_path / "config.json").read_text())
    curves = (tmp_path / "curves.csv").read_text().splitlines()
    assert facts["tune_loss"] < float(curves[1].split(",")[3]), "it learns"
    method.tune(own)
    decoder = method.build(own.target, own.settings, tmp_path)
    tokens, records = collect(decoder, own.requests[0])
    assert tuple(tokens) == own.tune[0].answer
    assert sum(record.draft_size for record in records) > 0
    assert decoder.extra_bytes() > 0
    sizes = [trial.setting["drafts"] for trial in method.sized(own, (1, 2))]
    assert sizes == [1, 2]
    method.examine(own)
    learnt = pd.read_csv(tmp_path / "learnt.csv").set_index("drafter")["acceptance_length"]
    assert list(learnt.index) == ["trained", "untrained", "bigram"]
    if not name.startswith("eagle"):  # whose features these few steps bring nearer, not its drafts
        assert learnt["trained"] > learnt["untrained"], "it learnt these very answers"


def test_eagle_2_decodes_with_eagle_s_training(tmp_path: Path) -> None:
    _, own = trained("eagle", tmp_path)
    method = load_method("eagle2")
    settings = method.settings(drafts=(3, 5), depths=(2, 3))
    assert method.tune is not None
    method.tune(replace(own, settings=settings))
    setting = json.loads((tmp_path / "setting.json").read_text())
    assert setting["policy"] == "dynamic"
    decoder = method.build(own.target, settings, tmp_path)
    tokens, _ = collect(decoder, own.requests[0])
    assert tuple(tokens) == own.tune[0].answer
    tried = (tmp_path / "trials.csv").read_text().splitlines()
    assert len(tried) == 1 + 5, "two sizes, two depths, the authors' tree"


@pytest.mark.parametrize("name", ["eagle_random", "chimera"])
def test_a_training_that_was_killed_goes_on_as_it_would_have(name: str, tmp_path: Path) -> None:
    """What is drawn while training, noise too, belongs to the step."""
    method_name, options = TRAINED[name]
    method = load_method(method_name)
    plain = firp_job(Target(tiny_model("llama")), tmp_path / "whole")
    settings = method.settings(**SHORT, **options)
    assert method.train is not None
    method.train(replace(plain, settings=settings))
    cut = replace(plain, settings=settings, folder=tmp_path / "cut")
    step = training._step

    def killed(job: Job, learner: Any, updates: Any, number: int) -> float:
        if number == 15:
            raise KeyboardInterrupt
        return step(job, learner, updates, number)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "_step", killed)
        with pytest.raises(KeyboardInterrupt):
            method.train(cut)
    method.train(cut)
    losses = [
        [line.split(",")[2:] for line in (folder / "curves.csv").read_text().splitlines()]
        for folder in (tmp_path / "whole", tmp_path / "cut")
    ]
    assert losses[0] == losses[1]


PARTS: dict[str, tuple[Any, Any, Any]] = {
    "hydra": (hydra, lambda t: hydra_heads(t), lambda f, t: hydra.load(f, t)),
    "hydra_plus": (hydra, lambda t: hydra_heads(t, prefix=True), lambda f, t: hydra.load(f, t)),
    "eagle": (eagle, eagle_net, lambda f, t: eagle.load(t, f)),
    "chimera": (chimera, chimera_net, lambda f, t: chimera.load(f, t)),
    "chimera_shared": (
        chimera,
        lambda t: chimera_net(t, shared=True),
        lambda f, t: chimera.load(f, t),
    ),
    "firp_parents": (
        firp,
        lambda t: random_maps(t, parents=4),
        lambda f, t: firp.load(f, t.hidden_size, t.weights_hash),
    ),
}


@pytest.mark.parametrize("name", PARTS)
def test_parts_are_read_as_they_were_written(name: str, tmp_path: Path) -> None:
    module, make, load = PARTS[name]
    target = Target(tiny_model("llama"), "abc")
    learnt = make(target)
    module.save(learnt, tmp_path, {"target_hash": "abc"})
    again = load(tmp_path, target)
    for key, value in again.state_dict().items():
        assert torch.equal(value, learnt.state_dict()[key]), key
    with pytest.raises(HarnessError, match="target_hash is abc, expected other"):
        load(tmp_path, Target(tiny_model("llama"), "other"))
    file = tmp_path / module.WEIGHTS
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(HarnessError, match="sha256"):
        load(tmp_path, target)


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
def test_published_eagle_weights_are_read_strictly(file: str, tmp_path: Path) -> None:
    write = save_file if file.endswith("safetensors") else torch.save
    target = Target(tiny_model("llama"), "abc")
    net = eagle_net(target)
    embeddings = target.model.model.embed_tokens.weight.detach()
    tensors = {**net.state_dict(), "embed_tokens.weight": embeddings.clone()}
    write({k: v.half() for k, v in tensors.items()}, tmp_path / file)
    method = load_method("eagle")
    write_json(tmp_path / "config.json", {})
    own = replace(
        firp_job(target, tmp_path / "own"), settings=method.settings(pretrained=str(tmp_path))
    )
    assert method.train is not None
    method.train(own)
    again = eagle.load(target, tmp_path / "own")
    torch.testing.assert_close(again.fc.weight, net.fc.weight, rtol=0, atol=1e-2)
    del tensors["fc.bias"]
    write(tensors, tmp_path / file)
    with pytest.raises(HarnessError, match=r"fc\.bias: nothing, expected"):
        method.train(own)
    write_json(tmp_path / "config.json", {"bias": False})
    method.train(own)
    assert not eagle.load(target, tmp_path / "own").fc.bias.any()
