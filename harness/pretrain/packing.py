"""Pack conversations into token rows of one length: several in a row, none of them cut."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

Turn = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Encoded:
    """Token ids of one conversation, and each one's weight in the loss when it is predicted."""

    ids: list[int]
    weights: list[float]


@dataclass(frozen=True, slots=True)
class Batch:
    """ids [B, S] int64; positions [B, S] int64, from 0 in each conversation; weights [B, S]."""

    ids: Tensor
    positions: Tensor
    weights: Tensor

    def to(self, device: torch.device) -> "Batch":
        """The same batch on a device."""
        return Batch(self.ids.to(device), self.positions.to(device), self.weights.to(device))


def encode(turns: list[Turn], tokenizer: PreTrainedTokenizerBase, prompt_weight: float) -> Encoded:
    """Token ids through the chat template; the assistant's count 1, others ``prompt_weight``."""
    ids: list[int] = []
    weights: list[float] = []
    messages: list[dict[str, str]] = []
    for user, assistant in turns:
        for role, content, weight in (
            ("user", user, prompt_weight),
            ("assistant", assistant, 1.0),
        ):
            messages.append({"role": role, "content": content})
            upto = tokenizer(
                tokenizer.apply_chat_template(
                    messages, tokenize=False, add_generation_prompt=role == "user"
                ),
                add_special_tokens=False,
            )["input_ids"]
            weights += [weight] * (len(upto) - len(ids))
            ids = upto
    return Encoded(ids, weights)


def pack(documents: Iterator[Encoded], rows: int, length: int, pad: int) -> Iterator[Batch]:
    """Batches of ``rows`` x ``length`` tokens, filled largest-first from a pool of documents.

    Documents longer than ``length`` are left out, and so is a last batch that is not full.
    """
    pool: list[Encoded] = []
    exhausted = False
    while True:
        packed = []
        for _ in range(rows):
            while len(pool) < 64 and not exhausted:
                document = next(documents, None)
                if document is None:
                    exhausted = True
                elif len(document.ids) <= length:
                    pool.append(document)
            if not pool:
                break
            packed.append(_row(pool, length, pad))
        if len(packed) < rows:
            return
        ids, positions, weights = zip(*packed, strict=True)
        yield Batch(torch.tensor(ids), torch.tensor(positions), torch.tensor(weights))


def _row(pool: list[Encoded], length: int, pad: int) -> tuple[list[int], list[int], list[float]]:
    ids: list[int] = []
    positions: list[int] = []
    weights: list[float] = []
    # The first document is the oldest of the pool, so that short ones are not starved.
    chosen: Encoded | None = pool.pop(0)
    while chosen is not None:
        ids += chosen.ids
        positions += range(len(chosen.ids))
        # The first token of a conversation has no context to be predicted from.
        weights += [0.0, *chosen.weights[1:]]
        room = length - len(ids)
        fitting = [document for document in pool if len(document.ids) <= room]
        chosen = max(fitting, key=lambda document: len(document.ids), default=None)
        if chosen is not None:
            pool.remove(chosen)
    spare = length - len(ids)
    return ids + [pad] * spare, positions + list(range(spare)), weights + [0.0] * spare
