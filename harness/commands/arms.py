"""Decoders of configured arms, from the folders that training and tuning wrote."""

from pathlib import Path
from typing import Any

from harness.decoder import Decoder
from harness.engine.target import Target
from harness.method import Method, parse_settings
from methods import METHODS

Arms = dict[str, tuple[Method, dict[str, Any]]]  # name -> method and its configured settings


def build_decoders(target: Target, arms: Arms, folders: Path) -> dict[str, Decoder]:
    """One decoder an arm; ``folders``/<method> holds what training and tuning wrote."""
    decoders = {}
    for name, (method, given) in arms.items():
        folder = arm_folder(folders, name)
        settings = parse_settings(name, method, given)
        decoders[name] = method.build(target, settings, folder if folder.is_dir() else None)
    return decoders


def arm_folder(folders: Path, arm: str) -> Path:
    """Where an arm's training and tuning are: its own, or those of the method that it uses."""
    return folders / (METHODS[arm].uses or arm)
