"""Answers as padded batches, and which later token each step predicts at each position."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.method import Answer


@dataclass(frozen=True, slots=True)
class Sequences:
    """A right-padded batch and the positions looked at in it.

    ``answers``: the B answers; ``ids`` [B, S]; ``selected`` [B, R] index of the real tokens that
    are predicted from, from the last prompt token on; ``valid`` [B, K, R] whether the token that
    step k predicts at that position belongs to the answer. Step 1 predicts the second next token:
    the next one is the target's own to choose. ``aimed`` [U]: the rows, counted through the whole
    batch, whose distributions steps should match, each once; ``index`` [B, K, R] which of them each
    step does.
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
        """[B, K, R] index of the real row whose distribution step k should match."""
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
    """[B, S, D] rows at [B, R] -> [B, R, D]."""
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
        whole = [*a.prompt, *a.answer]
        ids[b, : len(whole)] = torch.tensor(whole)
        first, last = len(a.prompt) - 1, len(whole) - 2  # rows that predict an answer token
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
    """[B, K, R] the rows that steps from ``selected`` [B, R] aim at, of sequences that long."""
    ahead = torch.arange(1, steps + 1, device=selected.device)[:, None]
    return (selected[:, None] + ahead).clamp_max(length - 1)


def batches(answers: Sequence[Answer], size: int) -> Iterator[tuple[list[int], list[Answer]]]:
    """(indices, answers) in batches of similar length, every answer once."""
    order = sorted(range(len(answers)), key=lambda i: _length(answers[i]))
    for start in range(0, len(order), size):
        chosen = order[start : start + size]
        yield chosen, [answers[i] for i in chosen]


def _length(answer: Answer) -> int:
    return len(answer.prompt) + len(answer.answer)
