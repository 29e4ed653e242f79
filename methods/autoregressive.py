"""Autoregressive decoding in the engine: one token per forward, the baseline of every speedup."""

from pathlib import Path

from harness.engine import Decoder, Drafter, EngineDecoder, Target
from harness.method import Method, NoSettings


def build(target: Target, settings: NoSettings, folder: Path) -> Decoder:
    """The engine with a drafter that drafts nothing."""
    return EngineDecoder(target, Drafter())


METHOD = Method(build, reference=True)
