"""Medusa's heads with a published 63-node tree, as the upstream project decodes."""

from dataclasses import dataclass
from pathlib import Path

from harness.engine import Decoder, EngineDecoder, Target
from harness.method import Method
from methods.medusa.drafter import MedusaDrafter
from methods.medusa.heads import fused_heads
from methods.medusa.templates import TEMPLATES, template
from methods.shared.choices import check_options


@dataclass(frozen=True, slots=True)
class Settings:
    """``template``: a name from ``methods/medusa/templates.txt``."""

    template: str = "generic_63"

    def __post_init__(self) -> None:
        check_options("medusa_template", "template", (self.template,), tuple(TEMPLATES))


def build(target: Target, settings: Settings, folder: Path) -> Decoder:
    """Decode with the heads that ``medusa`` trained; nodes that they do not reach are left out."""
    heads = fused_heads(target, folder)
    tree = template(settings.template, heads.count)
    return EngineDecoder(target, MedusaDrafter(target, heads, tree.build()))


METHOD = Method(build, Settings, reference=True)
