"""Tree attention on known trees: one forward of a whole tree against a plain forward of each path.

The plain forwards are the model's own, each over the prompt and one path from the root to a leaf,
without any cache. Source of the check: the definition of tree attention (SpecInfer, arXiv
2305.09781, section 4): a node's logits must not depend on the other branches.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.engine.block import Block
from harness.engine.drafter import Drafter
from harness.engine.loop import EngineDecoder
from harness.engine.masks import BlockLayout
from harness.engine.self_check import tolerance
from harness.engine.target import Target
from harness.engine.tree import Tree, TreeShape, chain
from harness.errors import HarnessError

SIZES = (4, 16, 64)  # drafts of the random trees


@dataclass(frozen=True, slots=True)
class Checked:
    """The result for one tree. ``error``: the largest difference of a logit to the plain forward's;
    ``unmasked``: a control, the same if every node saw all nodes before it; ``range``: the largest
    plain logit. ``corner_bytes``: of the tree's own corner of the mask, which is all that a
    new shape writes; ``mask_bytes``: of the masks held for it and smaller trees; ``kv_bytes``: of
    the keys and values of its rows.
    """

    tree: str
    nodes: int
    depth: int
    context: int
    error: float
    unmasked: float
    range: float
    corner_bytes: int
    mask_bytes: int
    kv_bytes: int


def known_trees(published: Mapping[str, TreeShape]) -> Iterator[tuple[str, TreeShape]]:
    """A chain, a star, random trees, and the published ones; names and shapes."""
    yield "chain", chain(max(SIZES) // 4)
    yield "star", TreeShape((-1, *[0] * (max(SIZES) // 4)))
    for drafts in SIZES:
        for seed in (0, 1):
            yield f"random, seed {seed}", random_shape(drafts, seed)
    yield from published.items()


def random_shape(drafts: int, seed: int) -> TreeShape:
    """A random tree, in which every node hangs below a random earlier one."""
    rng = random.Random(f"{drafts}/{seed}")
    return TreeShape((-1, *(rng.randrange(node) for node in range(1, drafts + 1))))


@torch.inference_mode()
def check_trees(
    target: Target, prompt: Sequence[int], trees: Iterator[tuple[str, TreeShape]]
) -> list[Checked]:
    """Check each tree behind the prompt, with random draft tokens.

    Raises HarnessError where a logit is farther off than rounding explains.
    """
    results = [_check(target, prompt, name, shape) for name, shape in trees]
    for result in results:
        allowed = tolerance(target) * result.range
        if not result.error <= allowed:
            raise HarnessError(
                f"tree '{result.tree}' of {result.nodes} nodes: logits are off by "
                f"{result.error:.2g}, expected at most {allowed:.2g}"
            )
    return results


def _check(target: Target, prompt: Sequence[int], name: str, shape: TreeShape) -> Checked:
    rng = random.Random(name)
    drafted = [rng.randrange(target.config.vocab_size) for _ in shape.parents[1:]]
    tree = Tree(shape, [prompt[-1], *drafted])
    target.begin(len(prompt) + len(shape))
    target.prefill(prompt[:-1])
    decoder = EngineDecoder(target, Drafter())
    block = decoder.block(tree, None)
    expected = _plain_logits(target, prompt, tree)
    error, unmasked = (_error(decoder, variant, expected) for variant in (block, _unmasked(block)))
    nodes, item = len(shape), target.dtype.itemsize
    return Checked(
        name,
        nodes,
        max(shape.depths),
        len(prompt) - 1,
        error,
        unmasked,
        float(expected.abs().max()),
        nodes * nodes * item,
        target.mask_bytes,
        nodes * target.arena.bytes_per_slot,
    )


def _error(decoder: EngineDecoder, block: Block, expected: Tensor) -> float:
    """The largest difference of the tree's logits [N, V] to the expected ones."""
    _, _, logits = decoder.verify(block, len(expected))
    return float((logits - expected).abs().max())


def _unmasked(block: Block) -> Block:
    """The same rows at the same positions, each seeing all rows before it."""
    layout = block.layout
    visible = torch.ones_like(layout.visible).tril()
    return Block(block.groups, BlockLayout(visible, layout.positions, layout.device))


def _plain_logits(target: Target, prompt: Sequence[int], tree: Tree) -> Tensor:
    """[N, V] logits after each node, of the model's own forward over each path to a leaf."""
    inner = set(tree.shape.parents)
    logits_after: dict[int, Tensor] = {}
    for leaf in (node for node in range(len(tree.shape)) if node not in inner):
        path = tree.path(leaf)
        ids = [*prompt[:-1], *(tree.tokens[node] for node in path)]
        batch = torch.tensor([ids], device=target.device)
        logits = target.model(input_ids=batch, use_cache=False).logits[0, -len(path) :]
        logits_after |= dict(zip(path, logits, strict=True))
    return torch.stack([logits_after[node] for node in range(len(tree.shape))])
