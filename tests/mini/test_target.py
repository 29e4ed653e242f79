"""The shipped target is the one on record, and as good as recorded."""

from pathlib import Path

import pytest

from harness.files import read_json, sha256_file
from harness.mini.target import held_out_batches
from harness.models import ModelSpec, load_target, load_tokenizer
from harness.pretrain.train import held_out_loss

FOLDER = Path(__file__).resolve().parents[2] / "workflows" / "resources" / "mini-target"


def test_shipped_files_match_their_recorded_hashes() -> None:
    for name, digest in read_json(FOLDER / "record.json")["sha256"].items():
        assert sha256_file(FOLDER / name) == digest
    assert (FOLDER / "model.safetensors").stat().st_size <= 16 * 2**20


def test_shipped_weights_reach_the_recorded_held_out_loss() -> None:
    record = read_json(FOLDER / "record.json")
    spec = ModelSpec(path=str(FOLDER))
    target, tokenizer = load_target(spec), load_tokenizer(spec)
    batches = held_out_batches(tokenizer, record["phases"]["general"]["seed"])
    assert held_out_loss(target.model, batches) == pytest.approx(record["held_out_loss"], abs=2e-3)
    for parameter in target.model.parameters():  # control: the loss is that of these weights
        parameter.data.add_(0.02)
    assert held_out_loss(target.model, batches[:1]) > 2 * record["held_out_loss"]
