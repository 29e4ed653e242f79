"""Answers as padded batches, and which later token each step predicts at each position."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.method import Answer


@dataclass(frozen=True, slots=True)
class Sequences:
    """A right-padded batch and the positions looked at in it.

    ``ids`` [B, S]; ``selected`` [B, R] index of the real tokens that are predicted from, from the
    last prompt token on; ``valid`` [B, K, R] whether the token that step k predicts at that
    position belongs to the answer. Step 1 predicts the second next token: the next one is the
    target's own to choose.
    """

    ids: Tensor
    selected: Tensor
    valid: Tensor

    def to(self, device: torch.device) -> "Sequences":
        """The same batch on another device."""
        return Sequences(self.ids.to(device), self.selected.to(device), self.valid.to(device))

    @property
    def aims(self) -> Tensor:
        """[B, K, R] index of the real row whose distribution step k should match."""
        steps = torch.arange(1, self.valid.shape[1] + 1, device=self.ids.device)
        return (self.selected[:, None] + steps[:, None]).clamp_max(self.ids.shape[1] - 1)

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
    return Sequences(ids, selected, valid)


def batches(answers: Sequence[Answer], size: int) -> Iterator[tuple[list[int], list[Answer]]]:
    """(indices, answers) in batches of similar length, every answer once."""
    order = sorted(range(len(answers)), key=lambda i: _length(answers[i]))
    for start in range(0, len(order), size):
        chosen = order[start : start + size]
        yield chosen, [answers[i] for i in chosen]


def _length(answer: Answer) -> int:
    return len(answer.prompt) + len(answer.answer)
