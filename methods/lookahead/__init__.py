"""Lookahead decoding: n-grams from parallel Jacobi steps (Fu et al., arXiv 2402.02057).

``window`` holds the window, the pool and the mask, ``drafter`` the method in the engine. Nothing is
trained; tuning tries combinations of window, n-gram length and guesses on the tune split.
"""

from dataclasses import dataclass
from pathlib import Path

from harness.engine import Decoder, EngineDecoder, Target
from harness.errors import HarnessError
from harness.method import Job, Method, Setting
from methods.lookahead.drafter import LookaheadDrafter
from methods.shared.choices import read_values
from methods.shared.trials import Trial, foretell_by_decoding, settle

VALUES = ("width", "ngram", "guesses", "from_prompt")
AUTHORS = (7, 5, 7)  # W, N, G for 7B models in the authors' README; the pool starts empty


@dataclass(frozen=True, slots=True)
class Settings:
    """``sizes``: (W, N, G) combinations to try. 7/5/7 is the authors' choice for 7B models,
    15/5/15 that of their chat demo; a small model on a CPU pays for every row, hence the others.
    ``from_prompt``: whether the pool also takes n-grams of the text so far (upstream's
    POOL_FROM_PROMPT).
    """

    sizes: tuple[tuple[int, ...], ...] = (
        (2, 3, 2),
        (2, 3, 5),
        (2, 3, 8),
        (2, 4, 5),
        (3, 3, 3),
        (3, 3, 7),
        (3, 4, 3),
        (5, 3, 5),
        (5, 5, 5),
        (7, 3, 7),
        (7, 5, 7),
        (15, 5, 15),
    )
    from_prompt: tuple[bool, ...] = (True, False)
    tuning_rounds: int = 2

    def __post_init__(self) -> None:
        for size in self.sizes:
            if len(size) != 3 or size[0] < 2 or size[1] < 3 or size[2] < 1:
                raise HarnessError(
                    f"methods.lookahead.sizes: {list(size)}, expected [W >= 2, N >= 3, G >= 1]"
                )
        if not self.sizes or not self.from_prompt:
            raise HarnessError("methods.lookahead: no sizes or no from_prompt, expected some")


def _decoder(target: Target, setting: dict[str, int | bool]) -> EngineDecoder:
    sizes = (int(setting["width"]), int(setting["ngram"]), int(setting["guesses"]))
    drafter = LookaheadDrafter(target, sizes, from_prompt=bool(setting["from_prompt"]))
    return EngineDecoder(target, drafter)


def build(target: Target, settings: Settings, folder: Path) -> Decoder:
    """Decode with the combination that tuning chose."""
    return _decoder(target, read_values(folder, VALUES))


def tune(job: Job) -> None:
    """Foretell the speed of all combinations, time the best; writes the trials and the setting."""
    settings: Settings = job.settings
    trials = []
    for width, ngram, guesses in settings.sizes:
        for from_prompt in settings.from_prompt:
            setting = {
                "width": width,
                "ngram": ngram,
                "guesses": guesses,
                "from_prompt": from_prompt,
            }
            default = (width, ngram, guesses) == AUTHORS and not from_prompt
            trials.append(Trial(setting, _decoder(job.target, setting), default=default))
    foretell_by_decoding(job, trials)
    settle(job, "lookahead", trials)


def plain(settings: Settings, folder: Path) -> Setting:
    """The setting without tuning: the authors'."""
    width, ngram, guesses = AUTHORS
    return {"width": width, "ngram": ngram, "guesses": guesses, "from_prompt": False}


METHOD = Method(build, Settings, tune=tune, plain=plain)
