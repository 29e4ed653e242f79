"""transformers' own prompt lookup, ``generate(prompt_lookup_num_tokens=...)``."""

from dataclasses import dataclass
from pathlib import Path

from harness.decoder import Decoder
from harness.engine.target import Target
from harness.errors import HarnessError
from harness.method import Method
from methods.hf.generate import HfGenerate


@dataclass(frozen=True, slots=True)
class Settings:
    """transformers' defaults: at most 10 drafts, found by matching n-grams of at most 2 tokens."""

    drafts: int = 10
    longest: int = 2

    def __post_init__(self) -> None:
        if min(self.drafts, self.longest) < 1:
            raise HarnessError(
                f"methods.hf_prompt_lookup: drafts {self.drafts}, longest {self.longest}; expected "
                "numbers >= 1"
            )


def build(target: Target, settings: Settings, folder: Path) -> Decoder:
    """Decode by ``generate`` with prompt lookup."""
    options = {
        "prompt_lookup_num_tokens": settings.drafts,
        "max_matching_ngram_size": settings.longest,
    }
    return HfGenerate(target, options)


METHOD = Method(build, Settings, reference=True)
