"""Real streams: the frozen target's states, keys and values over answers, made once if they fit.

The target does not change while parts are trained beside it, so what it makes of an answer is
constant. Making it again for every batch would take longer than the training itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from harness.engine.target import Target
from harness.method import Answer
from methods.shared.sequences import Sequences, gather_rows

__all__ = ["AppendingCache", "RealStream", "RealStreams", "Sequences", "gather_rows", "room"]

ROOM = 4 << 30  # bytes of kept streams on a CPU
_KeysValues = tuple[Tensor, Tensor]


@dataclass(frozen=True, slots=True)
class RealStream:
    """The target's states, keys and values over B answers, right-padded with zeros to S tokens.

    ``states[i]`` [B, S, H] enter layer i; for i the number of layers, they leave the last one.
    ``caches[i]``: keys and values [B, Hkv, S, D] of layer i, on its device.
    """

    states: dict[int, Tensor]
    caches: dict[int, _KeysValues]

    @property
    def bytes(self) -> int:
        """Bytes of all tensors."""
        pairs = [tensor for pair in self.caches.values() for tensor in pair]
        return sum(tensor.nbytes for tensor in [*self.states.values(), *pairs])


class RealStreams:
    """Makes the real streams of batches; keeps those of single answers, up to ``room`` bytes.

    ``entries``: layers whose entering states are needed. ``keys_from``: the first layer whose keys
    and values are needed, None for none. States that leave the last layer are always included.
    """

    def __init__(
        self,
        target: Target,
        entries: Sequence[int] = (),
        keys_from: int | None = None,
        room: int = 0,
    ) -> None:
        depth = len(target.layers)
        self._target, self._most = target, room
        self._capture = sorted({*entries, depth})
        self._layers = range(depth if keys_from is None else keys_from, depth)
        self._kept: dict[Answer, RealStream] = {}
        self.bytes = 0

    @property
    def kept(self) -> int:
        """Number of answers whose streams are kept."""
        return len(self._kept)

    @torch.no_grad()
    def __call__(self, batch: Sequences) -> RealStream:
        """The streams of a batch's answers, on the target's device."""
        streams = [self._stream(answer) for answer in batch.answers]
        length = batch.ids.shape[1]
        states = {at: _stacked([s.states[at] for s in streams], length) for at in self._capture}
        caches = {
            layer: (
                _stacked([s.caches[layer][0] for s in streams], length),
                _stacked([s.caches[layer][1] for s in streams], length),
            )
            for layer in self._layers
        }
        return RealStream(states, caches)

    def _stream(self, answer: Answer) -> RealStream:
        """The stream of one answer, run alone so that it does not depend on the rest of a batch."""
        stream = self._kept.get(answer)
        if stream is None:
            stream = self._run([*answer.prompt, *answer.answer])
            if self.bytes + stream.bytes <= self._most:
                self._kept[answer] = stream
                self.bytes += stream.bytes
        return stream

    def _run(self, ids: list[int]) -> RealStream:
        target = self._target
        with torch.inference_mode():
            target.begin(len(ids))
            states = target.prefill(ids, capture=self._capture)
        # Copied outside inference mode: gradients may pass through operations on the copies.
        caches = {layer: _copied(target.arena.read(layer)) for layer in self._layers}
        return RealStream({at: states[at].clone() for at in self._capture}, caches)


def room(device: torch.device) -> int:
    """Bytes that real streams may fill beside a training: on a GPU a quarter of its free memory."""
    if device.type != "cuda":
        return ROOM
    torch.cuda.empty_cache()  # what an earlier try has freed is free memory too
    return torch.cuda.mem_get_info(device)[0] // 4


class AppendingCache:
    """A cache that returns a real stream's keys and values followed by new ones; it keeps none."""

    def __init__(self, real: RealStream) -> None:
        self._caches = real.caches

    def update(self, key: Tensor, value: Tensor, layer_idx: int, *_: Any) -> _KeysValues:
        """The real stream's keys and values, and [B, Hkv, T, D] more behind them."""
        keys, values = self._caches[layer_idx]
        return torch.cat([keys, key], dim=2), torch.cat([values, value], dim=2)


def _copied(pair: _KeysValues) -> _KeysValues:
    return pair[0].clone(), pair[1].clone()


def _stacked(parts: Sequence[Tensor], length: int) -> Tensor:
    """[B, .., length, D] of tensors [1, .., S_b, D], each padded with zeros."""
    first = parts[0]
    whole = first.new_zeros(len(parts), *first.shape[1:-2], length, first.shape[-1])
    for row, part in enumerate(parts):
        whole[row, ..., : part.shape[-2], :] = part[0]
    return whole
