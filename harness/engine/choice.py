"""The one rule by which a token is chosen from the target's logits.

At temperature T > 0 a token is ``argmax(warped logits + Gumbel(seed, position))``: a draw from
softmax(warped logits). All nodes that predict the same position share the noise, so speculative
output is token-identical to plain sampling with the same seed, which is what the losslessness test
for sampling rests on. Warped are logits by the temperature, then by top-p (Holtzman et al., arXiv
1904.09751), in transformers' order. A temperature may depend on the two tokens before (AdapT): it
is a function of the text, the same for a draft as for the answer that it becomes.
"""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from harness.decoder import Sampling
from harness.engine.host import to_device

KEPT = 256  # positions whose noise is held at the most, beside those in use
LIKELY = 512  # tokens among which a CPU looks for the end of a nucleus before it sorts them all


class TokenChoice:
    """Chooses one token per row of logits."""

    def __init__(self, sampling: Sampling) -> None:
        self._temperature, self._top_p = sampling.temperature, sampling.top_p
        self._sampling = sampling
        self.by_text = sampling.block_temperature is not None
        self._seed = sampling.seed
        self._noise: dict[int, Tensor] = {}
        self._generator: torch.Generator | None = None

    def __call__(
        self, logits: Tensor, positions: Sequence[int], ends: Sequence[tuple[int, int]] = ()
    ) -> Tensor:
        """[N] int64 tokens chosen from ``logits`` [N, V]; ``positions[n]`` is where it will be,
        ``ends[n]`` the two tokens before, needed where the choice is ``by_text``.
        """
        return self.scores(logits, positions, ends).argmax(-1)

    def scores(
        self, logits: Tensor, positions: Sequence[int], ends: Sequence[tuple[int, int]] = ()
    ) -> Tensor:
        """[N, V] of which the largest is chosen: the logits, or warped and with noise, float32."""
        if self._temperature == 0:
            return logits
        distinct = sorted(set(positions))
        noise = torch.stack([self._gumbel(position, logits) for position in distinct])
        self._forget(distinct[0])
        rows = to_device([distinct.index(position) for position in positions], logits.device)
        own = noise.index_select(0, rows)
        if self.by_text:
            each = [[self._sampling.after(tokens)] for tokens in ends]
            warped = logits.float() / torch.tensor(each, device=logits.device)
            return own.add_(warped if self._top_p >= 1 else nucleus(warped, self._top_p))
        if self._top_p >= 1:
            return own.add_(logits.float(), alpha=1 / self._temperature)
        return own.add_(nucleus(logits.float() / self._temperature, self._top_p))

    def _gumbel(self, position: int, like: Tensor) -> Tensor:
        """Standard Gumbel noise [V], float32 on the device of ``like`` [N, V]; a function of (seed,
        position) alone on one kind of device.
        """
        if position not in self._noise:
            if self._generator is None:
                self._generator = torch.Generator(like.device)
            # Hashed: the first numbers of a CPU's generator from neighbouring seeds are alike.
            place = f"{self._seed}/{position}".encode()
            mixed = hashlib.blake2b(place, digest_size=4).digest()  # as many bits as it takes
            self._generator.manual_seed(int.from_bytes(mixed))
            waiting = torch.empty(like.shape[-1], dtype=torch.float64, device=like.device)
            waiting.exponential_(generator=self._generator)
            self._noise[position] = -waiting.clamp_min_(1e-300).log_().float()
        return self._noise[position]

    def _forget(self, first: int) -> None:
        """Drop noise of positions before ``first`` once there is much of it."""
        if len(self._noise) > KEPT:
            self._noise = {at: noise for at, noise in self._noise.items() if at >= first}


def nucleus(scores: Tensor, top_p: float) -> Tensor:
    """``scores`` [N, V] with -inf for all tokens outside the smallest set of likeliest ones that
    holds ``top_p`` of the probability; tokens as likely as the set's last one are inside. In place.

    What a row gets depends on that row alone.
    """
    whole = scores.double().logsumexp(-1, keepdim=True)
    if scores.device.type == "cuda":  # sorts fast, and is not asked whether a part would do
        last = _last_inside(scores.sort(descending=True).values, whole, top_p)
    else:
        best = scores.topk(min(LIKELY, scores.shape[-1])).values
        last = _last_inside(best, whole, top_p)
        held = (best.double() - whole).exp().sum(-1) >= top_p
        for row in (~held).nonzero()[:, 0].tolist():
            ordered = scores[row : row + 1].sort(descending=True).values
            last[row] = _last_inside(ordered, whole[row : row + 1], top_p)[0]
    return scores.masked_fill_(scores < last, float("-inf"))


def _last_inside(ordered: Tensor, whole: Tensor, top_p: float) -> Tensor:
    """[N, 1] the lowest score inside; ``ordered`` [N, M] descending, ``whole`` [N, 1] log-sum."""
    mass = (ordered.double() - whole).exp()
    inside = mass.cumsum(-1) - mass < top_p
    return ordered.masked_fill(~inside, float("inf")).amin(-1, keepdim=True)
