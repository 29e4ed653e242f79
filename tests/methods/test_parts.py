"""Ready-made parts: taken whole and unchanged, for their own target and settings, or not at all."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from harness.commands.parts import RECORD, collect_parts, share_parts, take_parts
from harness.errors import HarnessError
from harness.experiment.arms import Arms, parse_arm
from harness.files import write_json
from harness.measure.arms import build_decoders
from harness.models import ModelSpec, load_target
from methods import load_method
from methods.firp.projections import load
from tests.methods.test_firp_training import SETTINGS, job
from tests.models import save_tokenizer, tiny_model

GIVEN = {"entry_layers": [1, 2], "training_steps": 6, "batch": 2, "evaluate_every": 2}


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> tuple[ModelSpec, Arms, Path]:
    """A target's folder, FIRP with its settings, and the parts that were collected of it."""
    root = tmp_path_factory.mktemp("shipped")
    tiny_model("llama").save_pretrained(root / "target")
    save_tokenizer(root / "target")
    spec = ModelSpec(path=str(root / "target"))
    method = load_method("firp")
    work = job(load_target(spec), root / "methods" / "firp")
    assert method.train is not None
    method.train(work)
    (root / "methods" / "firp" / "spent.json").write_text("{}")  # of a tuning, no part
    arms: Arms = {"firp": parse_arm("firp", GIVEN)}
    collect_parts(arms, root / "methods", root / "parts")
    return spec, arms, root / "parts"


def _copy(parts: Path, to: Path) -> Path:
    for file in parts.rglob("*"):
        if file.is_file():
            place = to / file.relative_to(parts)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(file.read_bytes())
    return to


def _change(file: Path, *keys: str, value: Any) -> None:
    whole = json.loads(file.read_text())
    inner = whole
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    write_json(file, whole)


def test_a_part_stands_where_its_training_would_have_written(
    shipped: tuple[ModelSpec, Arms, Path], tmp_path: Path
) -> None:
    spec, arms, parts = shipped
    take_parts(spec, arms, parts, tmp_path)
    target = load_target(spec)
    load(tmp_path / "firp", target.hidden_size, target.weights_hash)
    config = json.loads((tmp_path / "firp" / "config.json").read_text())
    record = json.loads((parts / RECORD).read_text())["parts"]["firp"]
    assert config["shipped"] is True
    assert config["training_seconds"] == record["training_seconds"] > 0
    assert not (tmp_path / "firp" / "spent.json").exists()
    assert set(record["files"]) == {
        *("config.json", "curves.csv", "projections.safetensors"),
    }


def test_parts_that_do_not_fit_are_refused(
    shipped: tuple[ModelSpec, Arms, Path], tmp_path: Path
) -> None:
    spec, arms, parts = shipped

    def refused(folder: Path, wanted: Arms = arms, of: ModelSpec = spec) -> str:
        with pytest.raises(HarnessError) as caught:
            take_parts(of, wanted, folder, tmp_path / "taken")
        assert not (tmp_path / "taken" / "firp" / "config.json").exists()
        (line,) = str(caught.value).splitlines()
        return line

    assert "no such file" in refused(tmp_path / "none")
    changed = _copy(parts, tmp_path / "changed")
    weights = changed / "firp" / "projections.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    assert f"{weights}: SHA-256 is" in refused(changed)
    weights.unlink()
    assert f"{weights}: no such file" in refused(changed)
    assert "no part of 'medusa', expected one; it holds firp" in refused(
        parts, {"medusa": parse_arm("medusa", {})}
    )
    other = {"firp": parse_arm("firp", {**GIVEN, "entry_layers": [1, 1]})}
    assert "trained with entry_layers [1, 2], the config asks for [1, 1]" in refused(parts, other)
    seeded = {"firp": parse_arm("firp", {**GIVEN, "seed": 5})}
    assert "firp: trained with seed " in refused(parts, seeded)
    foreign = _copy(parts, tmp_path / "foreign")
    _change(foreign / RECORD, "parts", "firp", "target_hash", value="x")
    assert "of target x, expected" in refused(foreign)


def test_parts_that_others_trained_have_no_seconds_and_no_target(
    shipped: tuple[ModelSpec, Arms, Path], tmp_path: Path
) -> None:
    spec, given = shipped[0], {"pretrained": "hub:somebody/small"}
    arms: Arms = {"hf_assisted": parse_arm("hf_assisted", given)}
    config = tmp_path / "methods" / "hf_assisted" / "config.json"
    write_json(config, {"pretrained": "hub:somebody/small", "weights": "w"})
    collect_parts(arms, tmp_path / "methods", tmp_path / "parts")
    take_parts(spec, arms, tmp_path / "parts", tmp_path / "taken")
    taken = json.loads((tmp_path / "taken" / "hf_assisted" / "config.json").read_text())
    assert taken == {"pretrained": "hub:somebody/small", "weights": "w", "shipped": True}
    trained = {"hf_assisted": parse_arm("hf_assisted", {})}
    with pytest.raises(HarnessError, match="hf_assisted: trained with pretrained 'hub:some"):
        take_parts(spec, trained, tmp_path / "parts", tmp_path / "taken")


def test_settings_that_only_the_tuning_reads_may_differ(
    shipped: tuple[ModelSpec, Arms, Path], tmp_path: Path
) -> None:
    spec, _, parts = shipped
    take_parts(spec, {"firp": parse_arm("firp", {**GIVEN, "drafts": [9]})}, parts, tmp_path)
    assert SETTINGS.entry_layers == (1, 2), "control: what the part was trained with"


def test_an_arm_without_the_folder_of_its_training_is_named(
    shipped: tuple[ModelSpec, Arms, Path], tmp_path: Path
) -> None:
    spec, arms, _ = shipped
    with pytest.raises(HarnessError, match=f"firp: no folder {tmp_path}/firp, expected what"):
        build_decoders(load_target(spec), arms, tmp_path)


def test_a_variant_gets_the_parts_and_nothing_of_the_tuning(
    shipped: tuple[ModelSpec, Arms, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = shipped[2].parent / "methods" / "firp"
    assert (trained / "spent.json").exists(), "control"
    for name in ("linked", "copied"):
        share_parts(trained, tmp_path / name)
        held = {file.name: file.read_bytes() for file in (tmp_path / name).iterdir()}
        assert "spent.json" not in held
        assert {"config.json", "projections.safetensors"} <= set(held)
        for file, content in held.items():
            assert content == (trained / file).read_bytes()
        weights = trained / "projections.safetensors"
        same = weights.samefile(tmp_path / name / weights.name)
        assert same == (name == "linked")
        monkeypatch.setattr(os, "link", _unlinkable)


def _unlinkable(*_: object) -> None:
    raise OSError(1, "Operation not permitted")
