"""Ready-made parts: collect what training wrote, with a record, or put it in place of a training.

A folder of parts holds each method's folder, as its training left it, and ``record.json``: for each
method its settings, seconds, steps, data and loss of training, and the SHA-256 of every file.
"""

import os
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from typing_extensions import TypedDict

from harness.engine.products import kind
from harness.errors import HarnessError
from harness.experiment.arms import Arm, Arms, Settings
from harness.experiment.folder import CONFIG, COSINE, LEARNT, SETTING, SPENT, TRIALS
from harness.files import checked, read_json, read_object, replacing, sha256_file, write_json
from harness.measure.machine import machine
from harness.method import parse_settings
from harness.models import ModelSpec, weights_hash

CPU = torch.device("cpu")
RECORD = "record.json"
# What tuning and examining write, and what holds only for the machine that trained.
_NOT_PARTS = (SETTING, SPENT, TRIALS, LEARNT, COSINE, "rank_accuracy.csv", "calibration.json")


class Part(TypedDict):
    """The record of one method's part: training in seconds, loss in nats.

    None is what does not apply: published weights were not trained here, a draft model of others'
    may go with any target, and a given skip set takes no seconds.
    """

    settings: Settings
    target_hash: str | None
    data_hash: str | None
    seed: int | None
    training_seconds: float | None
    training_steps: int | None
    tune_loss: float | None
    files: dict[str, str]  # path inside the method's folder -> SHA-256


def collect_parts(arms: Arms, folders: Path, out: Path, device: str = "cpu") -> None:
    """Copy what the trainings in ``folders`` wrote to ``out``, with their record.

    ``device``: what they ran on.
    """
    parts = {}
    for name, arm in arms.items():
        files = _files(folders / name)
        facts = read_json(folders / name / CONFIG)
        for file in files:
            _copy(folders / name / file, out / name / file)
        parts[name] = Part(
            settings=_trained_with(arm),
            target_hash=facts.get("target_hash"),
            data_hash=facts.get("data_hash"),
            seed=facts.get("seed"),
            training_seconds=facts.get("training_seconds"),
            training_steps=facts.get("training_steps"),
            tune_loss=facts.get("tune_loss"),
            files={file: sha256_file(out / name / file) for file in files},
        )
    # A GPU may be on another machine than the one that collects.
    facts = machine([CPU], kind(CPU, torch.float32)) if device == "cpu" else {"device": device}
    write_json(out / RECORD, {"parts": parts, "machine": facts})


def take_parts(spec: ModelSpec, arms: Arms, parts: Path, folders: Path) -> None:
    """Put each method's part where its training would have written, marked as shipped.

    Refuses parts that are missing, were changed, belong to another target, or were trained with
    other settings than the config's.
    """
    file = parts / RECORD
    record = read_object(file)
    records = checked(dict[str, Part], record.get("parts"), f"{file}: parts")
    target_hash = weights_hash(spec.pinned())
    for name, arm in arms.items():
        if name not in records:
            names = ", ".join(records) or "none"
            raise HarnessError(f"{parts}: no part of '{name}', expected one; it holds {names}")
        where, part = parts / name, records[name]
        if part["target_hash"] not in (None, target_hash):
            raise HarnessError(f"{where}: of target {part['target_hash']}, expected {target_hash}")
        if arm.seed is not None and part["seed"] not in (None, arm.seed):
            raise HarnessError(f"{where}: trained with seed {part['seed']}, expected {arm.seed}")
        # A setting that the record lacks was added later: the part was trained with its default.
        trained = _trained_with(replace(arm, settings={})) | part["settings"]
        _require_settings(where, trained, _trained_with(arm))
        _require_files(where, part["files"])
        for path in part["files"]:
            if path != CONFIG:
                _copy(where / path, folders / name / path)
        # Written last: this file marks a finished training.
        write_json(folders / name / CONFIG, {**read_json(where / CONFIG), "shipped": True})


def share_parts(trained: Path, folder: Path) -> None:
    """Put what a training wrote into the folder of an arm that uses it, to be tuned there.

    Files are hard-linked where possible: a draft model or heads may take gigabytes.
    """
    for file in _files(trained):
        if file != CONFIG:
            _link(trained / file, folder / file)
    # Copied last: this file marks that the parts are there.
    _copy(trained / CONFIG, folder / CONFIG)


def _trained_with(arm: Arm) -> Settings:
    """The settings that an arm's training reads, defaults included, as JSON values."""
    settings = asdict(parse_settings(arm.name, arm.method, arm.settings))
    return {key: _plain(value) for key, value in arm.training_settings(settings).items()}


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _require_settings(where: Path, trained: Settings, configured: Settings) -> None:
    for key in sorted(trained.keys() | configured.keys()):
        if trained.get(key) != configured.get(key):
            raise HarnessError(
                f"{where}: trained with {key} {trained.get(key)!r}, the config asks for "
                f"{configured.get(key)!r}; expected the same, or parts: trained"
            )


def _require_files(where: Path, files: dict[str, str]) -> None:
    for name, digest in files.items():
        actual = sha256_file(where / name)
        if actual != digest:
            raise HarnessError(f"{where / name}: SHA-256 is {actual}, expected {digest}")


def _files(folder: Path) -> list[str]:
    """Paths of a part's files, relative to its folder."""
    paths = (file.relative_to(folder) for file in sorted(folder.rglob("*")) if file.is_file())
    return [
        path.as_posix()
        for path in paths
        if path.name not in _NOT_PARTS and not any(part.startswith(".") for part in path.parts)
    ]


def _link(source: Path, place: Path) -> None:
    """Hard-link ``source`` as ``place``; copy it where the disk has no links, or across disks."""
    with replacing(place) as temporary:
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)


def _copy(source: Path, place: Path) -> None:
    with replacing(place) as temporary:
        shutil.copyfile(source, temporary)
