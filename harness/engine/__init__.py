"""One decoding engine over stock transformers models: arena, masks, trees, token choice, loop.

The hot loop is :meth:`harness.engine.loop.EngineDecoder.steps`. What methods are made of can be
imported from here.
"""

from harness.engine.block import Between, Block, RowGroup
from harness.engine.drafter import Context, Drafter, ExtraRows, Needs, Outcome, Verified
from harness.engine.loop import EngineDecoder
from harness.engine.target import Target
from harness.engine.tree import ROOT_ONLY, Accept, Tree, TreeShape, chain, exact, root_only

__all__ = [
    "ROOT_ONLY",
    "Accept",
    "Between",
    "Block",
    "Context",
    "Drafter",
    "EngineDecoder",
    "ExtraRows",
    "Needs",
    "Outcome",
    "RowGroup",
    "Target",
    "Tree",
    "TreeShape",
    "Verified",
    "chain",
    "exact",
    "root_only",
]
