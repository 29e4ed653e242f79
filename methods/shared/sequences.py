"""Answers as padded batches, and which later token each step predicts at each position."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.method import Answer


@dataclass(frozen=True, slots=True)
class Sequences:
    """A right-padded batch, and the positions in it that steps predict from.

    ``answers``: the B answers; ``ids`` [B, S]; ``selected`` [B, R] the positions that are predicted
    from, none before the last prompt token; ``valid`` [B, K, R] whether the token that step k
    predicts there belongs to the answer. Step 1 predicts the second next token, since the target
    itself chooses the next one. ``aimed`` [U]: the distinct rows of the target whose next-token
    distributions steps should match, as indices into the batch flattened to [B * S]; ``index``
    [B, K, R]: which of these U rows step k from each selected position should match.
    """

    answers: tuple[Answer, ...]
    ids: Tensor
    selected: Tensor
    valid: Tensor
    aimed: Tensor
    index: Tensor

    def to(self, device: torch.device) -> "Sequences":
        """The same batch on another device."""
        tensors = (self.ids, self.selected, self.valid, self.aimed, self.index)
        return Sequences(self.answers, *(tensor.to(device) for tensor in tensors))

    @property
    def aims(self) -> Tensor:
        """[B, K, R] position of the real row whose distribution step k should match."""
        return _aims(self.selected, self.valid.shape[1], self.ids.shape[1])

    def aimed_rows(self, states: Tensor) -> Tensor:
        """[U, D] the ``aimed`` rows of states [B, S, D]."""
        return states.flatten(0, 1).index_select(0, self.aimed)

    @property
    def tokens(self) -> Tensor:
        """[B, K, R] the token that step k should predict: the one after the row aimed at."""
        following = (self.aims + 1).clamp_max(self.ids.shape[1] - 1)
        return self.ids.gather(1, following.flatten(1)).unflatten(1, self.valid.shape[1:])


def gather_rows(source: Tensor, index: Tensor) -> Tensor:
    """Rows [B, R, D] of ``source`` [B, S, D] at positions ``index`` [B, R]."""
    return source.gather(1, index[..., None].expand(-1, -1, source.shape[-1]))


def batch_sequences(
    answers: Sequence[Answer], steps: int, per_sequence: int | None, generator: torch.Generator
) -> Sequences:
    """Pad answers to a batch; keep at most ``per_sequence`` random positions of each."""
    length = max(len(a.prompt) + len(a.answer) for a in answers)
    rows = max(len(a.answer) for a in answers)
    if per_sequence is not None:
        rows = min(rows, per_sequence)
    ids = torch.zeros(len(answers), length, dtype=torch.long)
    selected = torch.zeros(len(answers), rows, dtype=torch.long)
    valid = torch.zeros(len(answers), steps, rows, dtype=torch.bool)
    for b, a in enumerate(answers):
        tokens = [*a.prompt, *a.answer]
        ids[b, : len(tokens)] = torch.tensor(tokens)
        first, last = len(a.prompt) - 1, len(tokens) - 2  # rows that predict an answer token
        candidates = torch.arange(first, last + 1)
        if len(candidates) > rows:
            keep = torch.randperm(len(candidates), generator=generator)[:rows]
            candidates = candidates[keep.sort().values]
        selected[b, : len(candidates)] = candidates
        for k in range(1, steps + 1):
            valid[b, k - 1, : len(candidates)] = candidates + k <= last
    firsts = torch.arange(len(answers))[:, None, None] * length
    aimed, index = (_aims(selected, steps, length) + firsts).unique(return_inverse=True)
    return Sequences(tuple(answers), ids, selected, valid, aimed, index)


def _aims(selected: Tensor, steps: int, length: int) -> Tensor:
    """[B, K, R] positions that steps from ``selected`` [B, R] aim at, in ``length`` tokens."""
    ahead = torch.arange(1, steps + 1, device=selected.device)[:, None]
    return (selected[:, None] + ahead).clamp_max(length - 1)


def batches(answers: Sequence[Answer], size: int) -> Iterator[tuple[list[int], list[Answer]]]:
    """Yield (indices, answers) in batches of similar length, every answer once."""
    order = sorted(range(len(answers)), key=lambda i: _length(answers[i]))
    for start in range(0, len(order), size):
        chosen = order[start : start + size]
        yield chosen, [answers[i] for i in chosen]


def _length(answer: Answer) -> int:
    return len(answer.prompt) + len(answer.answer)
