"""What training sees: every answer once an epoch, little padding; and the loss it minimises."""

import random

import torch
from torch.nn.functional import kl_div

from harness.method import Answer
from methods.shared.accuracy import divergences
from methods.shared.sequences import Sequences, batch_sequences
from methods.shared.training import draw

SIZE = 4


def _answers(count: int) -> list[Answer]:
    rng = random.Random(0)
    return [
        Answer((index, *[1] * rng.randrange(5, 120)), (2,) * rng.randrange(2, 90))
        for index in range(count)
    ]


def test_an_epoch_holds_every_answer_once_and_the_next_mixes_them_anew() -> None:
    answers = _answers(96)
    batches = len(answers) // SIZE
    epochs = [
        [draw(answers, SIZE, 3, epoch * batches + step) for step in range(batches)]
        for epoch in range(2)
    ]
    for epoch in epochs:
        assert sorted(a.prompt[0] for batch in epoch for a in batch) == list(range(96))
    together = [{frozenset(a.prompt[0] for a in batch) for batch in epoch} for epoch in epochs]
    assert together[0] != together[1]


def _share_used(batches: list[list[Answer]]) -> tuple[float, float]:
    """Of rows (answer positions) and columns (tokens) of padded batches."""
    rows = [[len(a.answer) for a in batch] for batch in batches]
    columns = [[len(a.prompt) + len(a.answer) for a in batch] for batch in batches]
    return tuple(  # type: ignore[return-value]
        sum(map(sum, lengths)) / sum(len(batch) * max(batch) for batch in lengths)
        for lengths in (rows, columns)
    )


def test_batches_hold_less_padding_than_chance() -> None:
    answers = _answers(192)
    batches = len(answers) // SIZE
    chance = [answers[start : start + SIZE] for start in range(0, len(answers), SIZE)]
    drawn = _share_used([draw(answers, SIZE, 0, step) for step in range(batches)])
    for found, by_chance in zip(drawn, _share_used(chance), strict=True):
        assert found > by_chance + 0.1


def _batch() -> Sequences:
    answers = [Answer((1, 2, 3), (4, 5, 6, 7)), Answer((1, 2), (8, 9))]
    return batch_sequences(answers, 2, None, torch.Generator())


def test_the_loss_is_the_kl_divergence_to_the_row_aimed_at() -> None:
    batch = _batch()
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(*batch.valid.shape, 11, generator=generator)
    teacher = torch.randn(*batch.ids.shape, 11, generator=generator)
    found = divergences(logits, batch.aimed_rows(teacher), batch.index)
    for b, k, r in batch.valid.nonzero().tolist():
        aim = int(batch.selected[b, r]) + k + 1
        wanted = kl_div(
            logits[b, k, r].log_softmax(-1), teacher[b, aim].softmax(-1), reduction="sum"
        )
        torch.testing.assert_close(found[b, k, r], wanted)
        beside = kl_div(
            logits[b, k, r].log_softmax(-1), teacher[b, aim - 1].softmax(-1), reduction="sum"
        )
        assert not torch.isclose(found[b, k, r], beside)


def test_the_loss_pulls_towards_the_target() -> None:
    batch = _batch()
    teacher = torch.randn(*batch.ids.shape, 11, generator=torch.Generator().manual_seed(1))
    logits = torch.zeros(*batch.valid.shape, 11, requires_grad=True)
    divergences(logits, batch.aimed_rows(teacher), batch.index)[batch.valid].sum().backward()
    assert logits.grad is not None
    b, k, r = batch.valid.nonzero()[0].tolist()
    aim = int(batch.selected[b, r]) + k + 1
    expected = torch.full((11,), 1 / 11) - teacher[b, aim].softmax(-1)
    torch.testing.assert_close(logits.grad[b, k, r], expected)
