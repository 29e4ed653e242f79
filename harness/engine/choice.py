"""The one rule by which a token is chosen from the target's logits.

At temperature 0 the token is the argmax, at T > 0 ``argmax(warped logits + Gumbel(seed,
position))``: a draw from softmax(warped logits). All nodes that predict the same position share the
noise, so speculative output is token-identical to plain sampling with the same seed, which is what
the losslessness test for sampling rests on. Logits are warped as in transformers: divided by the
temperature, then cut to top-p (Holtzman et al., arXiv 1904.09751). The temperature may depend on
the two tokens before (AdapT): as a function of the text, it is the same for a draft and for the
answer that the draft becomes part of.
"""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from harness.decoder import Sampling
from harness.engine.host import to_device

KEPT = 256  # positions with noise in memory before that of past positions is dropped
# SplitMix64's constants, as int64.
_GOLDEN = 0x9E3779B97F4A7C15 - (1 << 64)
_MIX = ((30, 0xBF58476D1CE4E5B9 - (1 << 64)), (27, 0x94D049BB133111EB - (1 << 64)))
LIKELY = 512  # likeliest tokens in which a CPU looks for the end of a nucleus before it sorts all


class TokenChoice:
    """Chooses one token per row of logits."""

    def __init__(self, sampling: Sampling) -> None:
        self._temperature, self._top_p = sampling.temperature, sampling.top_p
        self._sampling = sampling
        self.by_text = sampling.block_temperature is not None
        self._seed = sampling.seed
        self._noise: dict[int, Tensor] = {}

    def __call__(
        self, logits: Tensor, positions: Sequence[int], ends: Sequence[tuple[int, int]] = ()
    ) -> Tensor:
        """[N] int64 tokens chosen from ``logits`` [N, V]; ``positions[n]`` is token n's position in
        the sequence, ``ends[n]`` the two tokens before it, needed only where the choice is
        ``by_text``.
        """
        return self.scores(logits, positions, ends).argmax(-1)

    def scores(
        self, logits: Tensor, positions: Sequence[int], ends: Sequence[tuple[int, int]] = ()
    ) -> Tensor:
        """[N, V] scores whose argmax is chosen: the logits at temperature 0, else the warped logits
        plus noise, float32.
        """
        if self._temperature == 0:
            return logits
        distinct = sorted(set(positions))
        self._draw([position for position in distinct if position not in self._noise], logits)
        noise = torch.stack([self._noise[position] for position in distinct])
        self._forget(distinct[0])
        rows = to_device([distinct.index(position) for position in positions], logits.device)
        row_noise = noise.index_select(0, rows)
        if self._top_p >= 1 and not self.by_text:  # without an array of warped logits: faster
            return row_noise.add_(logits.float(), alpha=1 / self._temperature)
        return row_noise.add_(self.warped(logits, ends))

    def warped(self, logits: Tensor, ends: Sequence[tuple[int, int]] = ()) -> Tensor:
        """[N, V] float32 logits of the distributions that tokens are drawn from, at a temperature
        above 0; ``ends`` as for a choice.
        """
        if self.by_text:
            temperatures = [[self._sampling.after(tokens)] for tokens in ends]
            warped = logits.float() / torch.tensor(temperatures, device=logits.device)
        else:
            warped = logits.float() / self._temperature
        return warped if self._top_p >= 1 else nucleus(warped, self._top_p)

    def _draw(self, positions: Sequence[int], like: Tensor) -> None:
        """Keep standard Gumbel noise [V] for each of ``positions``, float32 on the device of
        ``like`` [N, V]; it is a function of (seed, position) alone.
        """
        if not positions:
            return
        firsts = to_device([self._first(position) for position in positions], like.device)
        bits = random_bits(firsts[:, None], like.shape[-1])
        uniform = _shifted(bits, 11).double().mul_(2.0**-53)  # below 1
        exponential = uniform.neg_().log1p_().neg_().clamp_min_(1e-300)
        self._noise.update(zip(positions, exponential.log_().neg_().float(), strict=True))

    def _first(self, position: int) -> int:
        """The state that a position's random numbers begin with, far from those of the others."""
        place = f"{self._seed}/{position}".encode()
        return int.from_bytes(hashlib.blake2b(place, digest_size=8).digest(), signed=True)

    def _forget(self, first: int) -> None:
        """Drop the noise of positions before ``first``, once more than ``KEPT`` have noise."""
        if len(self._noise) > KEPT:
            self._noise = {at: noise for at, noise in self._noise.items() if at >= first}


def random_bits(first: Tensor, count: int) -> Tensor:
    """[P, count] int64 of 64 random bits each: SplitMix64 (Steele et al., OOPSLA 2014) from each of
    the P states ``first`` [P, 1] on. Integers are the same on every device, and each is made by
    itself, in parallel.
    """
    state = torch.arange(1, count + 1, device=first.device).mul_(_GOLDEN) + first
    for places, factor in _MIX:
        state.bitwise_xor_(_shifted(state, places)).mul_(factor)
    return state.bitwise_xor_(_shifted(state, 31))


def _shifted(bits: Tensor, places: int) -> Tensor:
    """``bits`` moved to the right; zeros, not copies of the sign, come in from the left."""
    return (bits >> places).bitwise_and_((1 << (64 - places)) - 1)


def nucleus(scores: Tensor, top_p: float) -> Tensor:
    """``scores`` [N, V], in place, with -inf for all tokens outside the nucleus: the smallest set
    of likeliest tokens that holds ``top_p`` of the probability, ties with its last one included.

    Each row of the result depends on the same row of ``scores`` alone.
    """
    log_sum = scores.double().logsumexp(-1, keepdim=True)
    if scores.device.type == "cuda":  # sorts fast, and the check below would make the host wait
        lowest = _lowest_inside(scores.sort(descending=True).values, log_sum, top_p)
    else:
        best = scores.topk(min(LIKELY, scores.shape[-1])).values
        lowest = _lowest_inside(best, log_sum, top_p)
        complete = (best.double() - log_sum).exp().sum(-1) >= top_p
        for row in (~complete).nonzero()[:, 0].tolist():
            ordered = scores[row : row + 1].sort(descending=True).values
            lowest[row] = _lowest_inside(ordered, log_sum[row : row + 1], top_p)[0]
    return scores.masked_fill_(scores < lowest, float("-inf"))


def _lowest_inside(ordered: Tensor, log_sum: Tensor, top_p: float) -> Tensor:
    """[N, 1] lowest score in the nucleus; ``ordered`` [N, M] descending, ``log_sum`` [N, 1]."""
    mass = (ordered.double() - log_sum).exp()
    inside = mass.cumsum(-1) - mass < top_p
    return ordered.masked_fill(~inside, float("inf")).amin(-1, keepdim=True)
