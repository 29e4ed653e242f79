"""What the target's own forward says of an answer: are its logits numbers, and where an answer left
the baseline's, how wide is the gap there, in the target's precision, in float32, and as the arm's
own forwards saw it.

In half precision two forwards of the same tokens round differently, by width and by kernel. How
far, the float32 logits tell: a gap that rounding can close is no fault of the method, any other is.
So with packed weights: LLM.int8() rounds activations too, and sets a column with an outlier in any
row of a forward apart for all its rows, so that these change each other's logits, and answers may
leave the baseline's.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from harness.decoder import GREEDY, Decoder, Request, Sampling
from harness.engine.choice import TokenChoice
from harness.engine.loop import EngineDecoder
from harness.engine.masks import causal_layout
from harness.engine.target import Target
from harness.engine.tree import Accept, Tree, root_only
from harness.engine.weights import widened
from harness.experiment.records import Gap


@torch.inference_mode()
def audit(
    target: Target,
    ids: Sequence[int],
    tokens: tuple[int, int],
    sampling: Sampling = GREEDY,
) -> Gap:
    """After ``ids``: ``margin``, by which the model's own forward prefers the first of ``tokens``
    to the second: of their logits, or where tokens are drawn, of what the draw maximises.

    Below float32 and with packed weights also ``exact_margin``, the same in float32 arithmetic with
    those weights, and ``rounding``, the farthest that a logit of that row is from its value there.
    """
    batch = torch.tensor([ids], device=target.device)
    own: Tensor = target.model(input_ids=batch, use_cache=False).logits[0, -1].float()
    choice = TokenChoice(sampling)

    def margin(logits: Tensor) -> float:
        ends = [(ids[-2:][0], ids[-1])]
        wanted, other = choice.scores(logits[None], [len(ids)], ends)[0, list(tokens)].tolist()
        return float(wanted - other)

    gap: Gap = {"margin": margin(own)}
    if target.dtype != torch.float32 or target.weights != "full":
        exact = float32_logits(target, ids)
        gap["exact_margin"] = margin(exact)
        gap["rounding"] = float((own - exact).abs().max())
    return gap


def own_gap(decoder: Decoder, request: Request, answer: Sequence[int], index: int) -> float | None:
    """Gap of the two highest logits from which ``decoder`` chose ``answer[index]``.

    It decodes once more. None where it is no decoder of the engine, or where it now says something
    else up to there.
    """
    if not isinstance(decoder, EngineDecoder):
        return None
    gaps: list[float] = []
    choice = TokenChoice(request.sampling)
    before = [request.prompt_ids[-2:][0]]  # the tokens before each step's root

    def reading(tree: Tree, logits: Tensor, chosen: Tensor) -> Tensor:
        last = decoder.accept(tree, logits, chosen)
        path = tree.path(int(last))
        at = [decoder.target.arena.length + 1 + depth for depth in range(len(path))]
        ends = tree.ends(before[-1])
        before.append(tree.tokens[path[-1]])
        best = choice.scores(logits[path].float(), at, [ends[node] for node in path]).topk(2).values
        gaps.extend((best[:, 0] - best[:, 1]).tolist())
        return last

    said = _again(decoder, request, reading, index)
    return gaps[index] if said == list(answer[: index + 1]) else None


def own_width_leaves(
    decoder: Decoder, request: Request, truth: Sequence[int], index: int
) -> bool | None:
    """Whether the arm's forwards, one token kept of each, leave ``truth`` at ``index`` or before.

    Then its width alone moves the logits, whatever it accepts. None outside the engine.
    """
    if not isinstance(decoder, EngineDecoder):
        return None
    said = _again(decoder, request, root_only, index)
    return said != list(truth[: index + 1])


def _again(decoder: EngineDecoder, request: Request, accept: Accept, index: int) -> list[int]:
    """The answer up to ``index``, decoded by the arm with another rule of acceptance."""
    said: list[int] = []
    arm = EngineDecoder(decoder.target, decoder.drafter, accept)
    for record in arm.steps(request):
        said += record.tokens
        if len(said) > index:
            break
    return said[: index + 1]


@torch.inference_mode()
def finite(target: Target, ids: Sequence[int], answer: Sequence[int]) -> bool:
    """Whether the model's own logits for the tokens of ``answer`` to ``ids`` are numbers.

    It cannot be told for which of them: in attention a NaN of one row reaches rows before it.
    """
    batch = torch.tensor([[*ids, *answer[:-1]]], device=target.device)
    own = target.model(input_ids=batch, use_cache=False, logits_to_keep=len(answer)).logits[0]
    # -inf is a choice ruled out, as softmax and argmax take it
    return bool((own < math.inf).all())


@torch.inference_mode()
def float32_logits(target: Target, ids: Sequence[int]) -> Tensor:
    """[V] logits after ``ids``, one layer widened at a time, so that large ones fit."""
    hidden = target.embed(ids).float()
    layout = causal_layout(len(ids), target.device)
    rotary = target.model.model.rotary_emb(hidden, layout.sent[None])
    for layer, window, device in zip(
        target.layers, target.windows, target.arena.devices, strict=True
    ):
        mask = layout.additive(window, torch.float32)[None, None].to(device)
        turned = tuple(table.to(device) for table in rotary)
        hidden = widened(layer)(hidden.to(device), attention_mask=mask, position_embeddings=turned)
    last: Tensor = widened(target.norm)(hidden[0, -1:].to(target.norm_device))
    logits: Tensor = widened(target.model.lm_head)(last.to(target.device))[0]
    return logits
