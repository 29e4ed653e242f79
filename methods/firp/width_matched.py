"""A control: FIRP's steps with every draft rejected, to show what their width costs and changes.

Every row of a FIRP step runs, but each step commits one token. Compared with autoregressive
decoding this prices the wider forward; where a lossless method's text differs from the target's,
it shows whether the rounding of a wider forward alone explains that.
"""

from pathlib import Path

from harness.engine import Decoder, EngineDecoder, Target, root_only
from harness.method import Method, NoSettings
from methods.firp.tuning import load_decoder


def build(target: Target, settings: NoSettings, folder: Path) -> Decoder:
    """Decode with FIRP as it was trained and tuned, but accept no draft."""
    return EngineDecoder(target, load_decoder(target, folder).drafter, root_only)


METHOD = Method(build, reference=True)
