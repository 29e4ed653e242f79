"""Decoders of configured arms, from the folders that training and tuning wrote."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.decoder import Decoder, Request, StepRecord
from harness.engine.loop import EngineDecoder
from harness.engine.target import Target
from harness.errors import first_line, out_of_memory
from harness.method import Method, parse_settings
from methods import METHODS

Arms = dict[str, tuple[Method, dict[str, Any]]]  # name -> method and its configured settings


def build_decoders(target: Target, arms: Arms, folders: Path) -> dict[str, Decoder]:
    """One decoder an arm; ``folders``/<method> holds what training and tuning wrote.

    An arm whose parts the memory does not hold fails at its first turn, as any arm may.
    """
    decoders: dict[str, Decoder] = {}
    for name, (method, given) in arms.items():
        folder = arm_folder(folders, name)
        settings = parse_settings(name, method, given)
        try:
            decoders[name] = method.build(target, settings, folder if folder.is_dir() else None)
        except Exception as error:
            if not out_of_memory(error):
                raise
            decoders[name] = _Unbuilt(first_line(error))
    return decoders


def most_rows(decoder: Decoder) -> int:
    """Rows that it may send in one forward of the engine; 0 outside."""
    return decoder.drafter.needs.max_rows if isinstance(decoder, EngineDecoder) else 0


class _Unbuilt(Decoder):
    """An arm that the memory does not hold."""

    def __init__(self, said: str) -> None:
        self._said = said

    def steps(self, request: Request) -> Iterator[StepRecord]:
        raise MemoryError(self._said)


def arm_folder(folders: Path, arm: str) -> Path:
    """Where an arm's training and tuning are: its own, or those of the method that it uses."""
    return folders / (METHODS[arm].uses or arm)
