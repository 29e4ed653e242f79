"""Decoders of configured arms, from the folders that training and tuning wrote."""

from collections.abc import Iterator
from pathlib import Path

from harness.decoder import Decoder, Request, StepRecord
from harness.engine.loop import EngineDecoder
from harness.engine.target import Target
from harness.errors import HarnessError, first_line, out_of_memory
from harness.experiment.arms import Arms
from harness.method import parse_settings


def build_decoders(target: Target, arms: Arms, folders: Path) -> dict[str, Decoder]:
    """One decoder per arm; ``folders``/<arm.folder> holds what training and tuning wrote.

    An arm whose parts do not fit into memory fails at its first turn, as any arm may.
    """
    decoders: dict[str, Decoder] = {}
    for name, arm in arms.items():
        folder, method = folders / arm.folder, arm.method
        if (arm.prepared.trained or arm.prepared.tuned) and not folder.is_dir():
            raise HarnessError(f"{name}: no folder {folder}, expected what prepared it")
        settings = parse_settings(name, method, arm.settings)
        try:
            decoders[name] = method.build(target, settings, folder)
        except Exception as error:
            if not out_of_memory(error):
                raise
            decoders[name] = _Unbuilt(first_line(error))
    return decoders


def most_rows(decoder: Decoder) -> int:
    """The most rows that a decoder sends in one engine forward; 0 for one outside the engine."""
    return decoder.drafter.needs.max_rows if isinstance(decoder, EngineDecoder) else 0


class _Unbuilt(Decoder):
    """Stands for an arm whose parts did not fit into memory."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def steps(self, request: Request) -> Iterator[StepRecord]:
        raise MemoryError(self._reason)
