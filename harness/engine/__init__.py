"""One decoding engine over stock transformers models: arena, masks, trees, token choice, loop.

The hot loop is :meth:`harness.engine.loop.EngineDecoder.steps`. Methods can import all their
building blocks from here, including the interface of all decoders (``harness.decoder``).
"""

from harness.decoder import Decoder, Request, StepRecord, collect
from harness.engine.arena import Arena
from harness.engine.block import Between, Block, RowGroup
from harness.engine.drafter import Context, Drafter, ExtraRows, Needs, Outcome, Verified
from harness.engine.host import to_device
from harness.engine.layers import FusedLayer, Rotary, StockLayer
from harness.engine.loop import EngineDecoder
from harness.engine.masks import BlockLayout, additive, causal_layout
from harness.engine.products import Product
from harness.engine.stack import Sublayer
from harness.engine.supported import kv_shape
from harness.engine.target import Target
from harness.engine.tree import ROOT_ONLY, Accept, Tree, TreeShape, chain, exact, root_only
from harness.engine.weights import widened

__all__ = [
    "ROOT_ONLY",
    "Accept",
    "Arena",
    "Between",
    "Block",
    "BlockLayout",
    "Context",
    "Decoder",
    "Drafter",
    "EngineDecoder",
    "ExtraRows",
    "FusedLayer",
    "Needs",
    "Outcome",
    "Product",
    "Request",
    "Rotary",
    "RowGroup",
    "StepRecord",
    "StockLayer",
    "Sublayer",
    "Target",
    "Tree",
    "TreeShape",
    "Verified",
    "additive",
    "causal_layout",
    "chain",
    "collect",
    "exact",
    "kv_shape",
    "root_only",
    "to_device",
    "widened",
]
