"""Audits of answers. Are the target's own logits numbers? Where an answer leaves the baseline's,
how wide is the gap of logits in the target's precision, in float32, and in the arm's own forwards?
How far is a lossy arm's answer from the target's distribution?

In half precision two forwards of the same tokens round differently, depending on width and kernel.
The float32 logits tell how far: a gap that rounding can close is no fault of the method, any other
is. So it is with packed weights: LLM.int8() rounds activations too, and where any row of a forward
has an outlier in a column, it sets that column apart for all rows. So rows change each other's
logits, and answers may leave the baseline's.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from harness.decoder import GREEDY, Decoder, Request, Sampling, StepRecord
from harness.engine.choice import TokenChoice
from harness.engine.loop import EngineDecoder
from harness.engine.masks import causal_layout
from harness.engine.target import Target
from harness.engine.tree import Accept, Tree, exact, root_only
from harness.engine.weights import widened
from harness.experiment.records import Gap


@torch.inference_mode()
def audit(
    target: Target,
    ids: Sequence[int],
    tokens: tuple[int, int],
    sampling: Sampling = GREEDY,
) -> Gap:
    """The gap between two ``tokens`` after ``ids`` by the model's own forward.

    ``margin``: how far it prefers the first token to the second, in logits, or where tokens are
    drawn, in the scores that the draw maximises. Below float32 and with packed weights also
    ``exact_margin``, the same in float32 arithmetic with those weights, and ``rounding``, the
    farthest that a logit, or such a score, of that row is from its float32 value.
    """
    batch = torch.tensor([ids], device=target.device)
    native: Tensor = target.model(input_ids=batch, use_cache=False).logits[0, -1].float()
    choice = TokenChoice(sampling)
    ends = [(ids[-2:][0], ids[-1])]

    def margin(logits: Tensor) -> float:
        first, second = choice.scores(logits[None], [len(ids)], ends)[0, list(tokens)].tolist()
        return float(first - second)

    gap: Gap = {"margin": margin(native)}
    if target.dtype != torch.float32 or target.weights != "full":
        exact = float32_logits(target, ids)
        gap["exact_margin"] = margin(exact)
        # The draw divides logits by the temperature, and their rounding with them.
        temperature = sampling.after(ends[0]) or 1.0
        gap["rounding"] = float((native - exact).abs().max()) / temperature
    return gap


def own_gap(decoder: Decoder, request: Request, answer: Sequence[int], index: int) -> float | None:
    """Gap between the two highest scores from which ``decoder`` chose ``answer[index]``.

    It decodes the answer once more. None for a decoder outside the engine, or where the new answer
    differs up to there.
    """
    if not isinstance(decoder, EngineDecoder):
        return None
    gaps: list[float] = []
    choice = TokenChoice(request.sampling)
    before = [request.prompt_ids[-2:][0]]  # the tokens before each step's root

    def accept_and_note(tree: Tree, logits: Tensor, chosen: Tensor) -> Tensor:
        last = decoder.accept(tree, logits, chosen)
        path = tree.path(int(last))
        at = [decoder.target.arena.length + 1 + depth for depth in range(len(path))]
        ends = tree.ends(before[-1])
        before.append(tree.tokens[path[-1]])
        best = choice.scores(logits[path].float(), at, [ends[node] for node in path]).topk(2).values
        gaps.extend((best[:, 0] - best[:, 1]).tolist())
        return last

    tokens = _again(decoder, request, accept_and_note, index)
    return gaps[index] if tokens == list(answer[: index + 1]) else None


def own_width_leaves(
    decoder: Decoder, request: Request, truth: Sequence[int], index: int
) -> bool | None:
    """Whether the arm, keeping one token of each forward, leaves ``truth`` at ``index`` or before.

    Then the width of its forwards alone moves the logits, whatever it accepts. None outside the
    engine.
    """
    if not isinstance(decoder, EngineDecoder):
        return None
    tokens = _again(decoder, request, root_only, index)
    return tokens != list(truth[: index + 1])


def _again(decoder: EngineDecoder, request: Request, accept: Accept, index: int) -> list[int]:
    """The answer up to ``index``, inclusive, decoded by the arm with another acceptance rule."""
    tokens: list[int] = []
    arm = EngineDecoder(decoder.target, decoder.drafter, accept)
    for record in arm.steps(request):
        tokens += record.tokens
        if len(tokens) > index:
            break
    return tokens[: index + 1]


@torch.inference_mode()
def distance(decoder: Decoder, request: Request, records: Sequence[StepRecord]) -> float | None:
    """How far a lossy rule of acceptance takes an answer from the target's own: the total variation
    distance between their distributions of the next token, averaged over the answer's tokens but
    the last, of which the records do not say whether it was a draft.

    Drafts depend on the tokens before them alone. So an accepted draft was certain to come, while
    the target would choose it with some probability p only: its distance is 1 - p. Any other token
    is chosen as the target chooses: 0. None for lossless arms and for decoders outside the engine.
    """
    if not isinstance(decoder, EngineDecoder) or decoder.accept in (exact, root_only):
        return None
    answer = [token for record in records for token in record.tokens]
    if len(answer) == 1:
        return 0.0
    accepted = [at < len(record.path) for record in records for at in range(len(record.tokens))]
    logits = _logits_of_answer(decoder.target, request.prompt_ids, answer)
    chosen = torch.tensor(answer, device=logits.device)
    if request.sampling.temperature == 0:
        probability = (logits.argmax(-1) == chosen).float()
    else:
        ids = [*request.prompt_ids[-2:][:1], request.prompt_ids[-1], *answer]
        warped = TokenChoice(request.sampling).warped(logits, list(pairwise(ids[:-1])))
        probability = warped.softmax(-1).gather(1, chosen[:, None])[:, 0]
    moved = (1 - probability) * torch.tensor(accepted, device=logits.device)
    return float(moved[:-1].mean())


def _logits_of_answer(target: Target, ids: Sequence[int], answer: Sequence[int]) -> Tensor:
    """[N, V] the model's own logits for each of the answer's N tokens after the prompt ``ids``."""
    batch = torch.tensor([[*ids, *answer[:-1]]], device=target.device)
    output = target.model(input_ids=batch, use_cache=False, logits_to_keep=len(answer))
    logits: Tensor = output.logits[0]
    return logits


@torch.inference_mode()
def finite(target: Target, ids: Sequence[int], answer: Sequence[int]) -> bool:
    """Whether all of the model's own logits for ``answer`` to the prompt ``ids`` are numbers.

    If not, the token at fault cannot be told: in attention a NaN of one row reaches earlier rows.
    """
    logits = _logits_of_answer(target, ids, answer)
    # -inf is allowed: to softmax and argmax it is a choice ruled out
    return bool((logits < math.inf).all())


@torch.inference_mode()
def float32_logits(target: Target, ids: Sequence[int]) -> Tensor:
    """[V] float32 logits after ``ids``; layers are widened one by one, so that large ones fit."""
    hidden = target.embed(ids).float()
    layout = causal_layout(len(ids), target.device)
    rotary = target.model.model.rotary_emb(hidden, layout.sent[None])
    for layer, window, device in zip(
        target.layers, target.windows, target.arena.devices, strict=True
    ):
        mask = layout.additive(window, torch.float32)[None, None].to(device)
        tables = tuple(table.to(device) for table in rotary)
        hidden = widened(layer)(hidden.to(device), attention_mask=mask, position_embeddings=tables)
    last: Tensor = widened(target.norm)(hidden[0, -1:].to(target.norm_device))
    logits: Tensor = widened(target.model.lm_head)(last.to(target.device))[0]
    return logits
