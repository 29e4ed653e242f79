"""FIRP's forward with one token kept of it: what the width of a step costs, and does to rounding.

Every row of a FIRP step runs, drafts are never accepted. Beside autoregressive decoding it prices
the wider forward; where a lossless method's text differs, it shows whether width alone does that.
"""

from pathlib import Path

from harness.engine import Decoder, EngineDecoder, Target, root_only
from harness.errors import HarnessError
from harness.method import Method, NoSettings
from methods.firp.projections import load
from methods.firp.tuning import load_decoder


def build(target: Target, settings: NoSettings, folder: Path | None) -> Decoder:
    """FIRP as trained and tuned, without its acceptance."""
    if folder is None:
        raise HarnessError("width_matched: no FIRP to match; expected the folder of its training")
    maps = load(folder, target.hidden_size, target.weights_hash)
    firp = load_decoder(target, maps, folder)
    return EngineDecoder(target, firp.drafter, root_only)


METHOD = Method(build, reference=True)
