"""Answers at thousands of seeds, the target's exact distribution of them, and a test of fit.

The vocabulary is so small that all answers can be listed. The target is a real model.
"""

from collections import Counter
from dataclasses import replace
from functools import lru_cache
from itertools import product

import numpy as np
import torch
from scipy.stats import chi2, ncx2
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.generation.logits_process import TopPLogitsWarper

from harness.decoder import Request, Sampling, collect
from harness.engine.choice import TokenChoice
from harness.engine.loop import EngineDecoder
from harness.engine.target import Target

VOCAB, LENGTH, TEMPERATURE = 4, 4, 1.4
TOP_P = 1.0  # a test may set another one
BLOCK: float | None = None  # the temperature behind token 0 and then 1, likewise
STOPS = frozenset({2, 3})
PROMPT = (0, 1, 2, 0, 1, 2, 0)
DRAWS = 6500
SCALE, SEED = 6.0, 29  # no answer is so rare that 6500 draws would hardly show it
FALSE_ALARM = 0.01  # of the test, over choices of the seeds
Answer = tuple[int, ...]


@lru_cache
def tiny_target() -> Target:
    """Three layers, so that a pseudo state can enter between two of them."""
    torch.manual_seed(SEED)
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 3}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 128}
    no_ids = dict.fromkeys(("eos_token_id", "bos_token_id", "pad_token_id"))
    model = LlamaForCausalLM(LlamaConfig(vocab_size=VOCAB, **sizes, **heads, **no_ids))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(SCALE)
    return Target(model)


def request(seed: int) -> Request:
    """One short sampled answer."""
    adapted = (BLOCK, frozenset({0}), frozenset({1}))
    return Request(PROMPT, LENGTH, STOPS, Sampling(TEMPERATURE, seed, TOP_P, *adapted))


def exact_distribution() -> dict[Answer, float]:
    """Every possible answer and its probability: the product of softmax(logits / T), cut to its
    nucleus by transformers' own warper, of stock forwards.
    """
    return _exact(TOP_P, BLOCK)


@lru_cache
@torch.inference_mode()
def _exact(top_p: float, block: float | None) -> dict[Answer, float]:
    texts = list(product(range(VOCAB), repeat=LENGTH))
    ids = torch.tensor([PROMPT + text for text in texts])
    logits = tiny_target().model(input_ids=ids, use_cache=False).logits
    first = len(PROMPT) - 1
    temperatures = torch.full((len(texts), LENGTH), TEMPERATURE, dtype=torch.float64)
    if block is not None:
        before, last = ids[:, first - 1 : -2], ids[:, first:-1]
        temperatures[(before == 0) & (last == 1)] = block
    after = logits[:, first:-1].double() / temperatures[..., None]
    if top_p < 1:
        flat = TopPLogitsWarper(top_p)(torch.zeros(1, 1), after.flatten(0, 1))
        after = flat.view_as(after)
    after = after.softmax(-1)
    found: dict[Answer, float] = {}
    for text, steps in zip(texts, after, strict=True):
        end = next((i for i, token in enumerate(text, 1) if token in STOPS), LENGTH)
        # Texts that share the part up to the stop token are one answer.
        found[text[:end]] = float(torch.stack([steps[i, text[i]] for i in range(end)]).prod())
    return {answer: share for answer, share in found.items() if share > 0}


class Draws:
    """A decoder's answers at many seeds. Every seed is drawn and walked by the decoder itself.

    Remembered are only the tree and the logits after each history of drawn tokens and accepted
    paths: drafts and forwards depend on nothing else.
    """

    def __init__(self, decoder: EngineDecoder) -> None:
        self._decoder, self._verify = decoder, decoder.choose
        self._seen: list[tuple] = []
        self._steps: dict[tuple, tuple] = {}
        self._answers: dict[tuple, Answer] = {}
        self.accepted: Counter[int] = Counter()  # drafts accepted, over the steps of all draws

    @torch.inference_mode()
    def draw(self, choose: TokenChoice, seed: int) -> Answer:
        """The answer at a seed; ``choose`` holds its noise."""
        history: tuple = ()
        arena = self._decoder.target.arena
        while history in self._steps:
            context, tree, logits, arena.length = self._steps[history]
            chosen, last = self._verify(context, tree, logits, choose)
            path = tree.path(int(last))
            history += (*path, -1, int(chosen[last]))
            self.accepted[len(path) - 1] += 1
        known = self._answers.get(history)
        return self._learn(seed) if known is None else known

    def _learn(self, seed: int) -> Answer:
        """Decode in full, and remember each step."""
        history, asked = (), request(seed)
        self._seen.clear()
        self._decoder.choose = self._watch
        tokens, _ = collect(self._decoder, asked)
        self._decoder.choose = self._verify
        for context, tree, logits, length, chosen, last in self._seen:
            self._steps[history] = (context, tree, logits, length)
            history += (*tree.path(int(last)), -1, int(chosen[last]))
        self._answers[history] = tuple(tokens)
        return tuple(tokens)

    def _watch(self, context, tree, logits, choose):  # type: ignore[no-untyped-def]
        length = self._decoder.target.arena.length
        chosen, last = self._verify(context, tree, logits, choose)
        now = replace(context, tokens=list(context.tokens))  # the loop goes on with its own
        self._seen.append((now, tree, logits, length, chosen, last))
        return chosen, last


def noise() -> list[TokenChoice]:
    """One choice a seed, shared by all verifiers: each keeps the noise that it has drawn."""
    return _noise(TOP_P, BLOCK)


@lru_cache
def _noise(*_: float | None) -> list[TokenChoice]:
    return fresh_noise()


def fresh_noise() -> list[TokenChoice]:
    return [TokenChoice(request(seed).sampling) for seed in range(DRAWS)]


def counts(answers: list[Answer]) -> np.ndarray:
    """How often each answer of the exact distribution came; others are an error."""
    place = {answer: index for index, answer in enumerate(exact_distribution())}
    return np.bincount([place[answer] for answer in answers], minlength=len(place))


def probabilities() -> np.ndarray:
    return np.array(list(exact_distribution().values()))


def misfit(found: np.ndarray) -> float:
    """Pearson's statistic of counts against the exact distribution."""
    expected = found.sum() * probabilities()
    return float(((found - expected) ** 2 / expected).sum())


def limit() -> float:
    """Where the test says no: by chance alone in FALSE_ALARM of all choices of seeds."""
    return float(chi2.isf(FALSE_ALARM, len(probabilities()) - 1))


def total_variation(found: np.ndarray) -> float:
    return float(abs(found / found.sum() - probabilities()).sum() / 2)


def detectable(power: float = 0.99) -> float:
    """The smallest total variation d that the test is sure to see with ``power``.

    Counts drawn from q give a statistic near noncentral chi-square with noncentrality
    N * sum (q - p)^2 / p. By Cauchy and Schwarz the sum is at least (sum |q - p|)^2 = 4 d^2,
    whatever q is; so 4 N d^2 need only reach what the wanted power asks for.
    """
    df, low, high = len(probabilities()) - 1, 0.0, 1e4
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if ncx2.sf(limit(), df, middle) < power else (low, middle)
    return float((high / (4 * DRAWS)) ** 0.5)


def told(found: np.ndarray) -> str:
    return (
        f"statistic {misfit(found):.0f}, at most {limit():.0f} expected; total "
        f"variation {total_variation(found):.3f}, at most {chance_variation():.3f} expected"
    )


def fits(found: np.ndarray) -> bool:
    """The test: Pearson's statistic and the total variation are both within chance."""
    within = total_variation(found) <= chance_variation()
    return within and misfit(found) <= limit()


def chance_variation() -> float:
    """The total variation that DRAWS exact draws pass in FALSE_ALARM of all cases."""
    return _chance_variation(TOP_P)


@lru_cache
def _chance_variation(_: float) -> float:
    drawn = np.random.default_rng(0).multinomial(DRAWS, probabilities(), size=5000)
    return float(np.quantile([total_variation(row) for row in drawn], 1 - FALSE_ALARM))
