"""Splits of the stand-ins, in the column names of the real question sets, and the training mix.

Records are functions of (dataset, split, index, seed) alone, so that a split can be extended
without changing what it already holds. The hash of a question decides which of train, tune and
test it may be in, so that no question is in two of them.
"""

import random
import zlib
from collections.abc import Iterator

from harness.datasets.base import Record
from harness.datasets.xsum import SUMMARISE
from harness.errors import HarnessError
from harness.mini import arithmetic, articles, dialogues, exercises

Turn = tuple[str, str]


# Share of all possible questions that each split draws from, in sixteenths.
_SPLITS = {"test": range(0, 2), "tune": range(2, 4), "train": range(4, 16)}


def record(dataset: str, split: str, index: int, seed: int) -> Record:
    """One record as its real counterpart would be stored on the hub.

    Columns: ``xsum`` id, document, summary; ``gsm8k`` question, answer; ``mtbench`` question_id,
    category, turns, reference (one answer a turn). Any split but train, tune and test (the target's
    own training and held-out data) draws from all questions.
    """
    attempt = 0
    while True:
        suffix = f"/{attempt}" if attempt else ""
        rng = random.Random(f"{seed}/{dataset}/{split}/{index}{suffix}")
        candidate = _draw(dataset, split, index, rng)
        if split not in _SPLITS or _bucket(dataset, candidate) in _SPLITS[split]:
            return candidate
        attempt += 1


def _bucket(dataset: str, item: Record) -> int:
    """A number from 0 to 15 that depends on the user turns alone."""
    questions = "\n".join(user for user, _ in conversation(dataset, item))
    return zlib.crc32(questions.encode()) % 16


def _draw(dataset: str, split: str, index: int, rng: random.Random) -> Record:
    if dataset == "xsum":
        document, summary = articles.article(rng)
        return {"id": f"{split}-{index}", "document": document, "summary": summary}
    if dataset == "gsm8k":
        largest = arithmetic.ASKED if split in _SPLITS else arithmetic.TRAINED
        question, answer = arithmetic.problem(rng, largest)
        return {"question": question, "answer": answer}
    if dataset != "mtbench":
        raise HarnessError(f"stand-in '{dataset}': expected xsum, gsm8k or mtbench")
    category = dialogues.CATEGORIES[index % len(dialogues.CATEGORIES)]
    turns = dialogues.dialogue(rng, category)
    return {
        "question_id": index,
        "category": category,
        "turns": [user for user, _ in turns],
        "reference": [assistant for _, assistant in turns],
    }


def conversation(dataset: str, item: Record) -> list[Turn]:
    """(user, assistant) turns of a stand-in record, as the target is trained on them."""
    if dataset == "xsum":
        return [(f"{SUMMARISE}\n{item['document']}", item["summary"])]
    if dataset == "gsm8k":
        return [(item["question"], item["answer"])]
    return list(zip(item["turns"], item["reference"], strict=True))


# What the target is trained on, (kind, share) per phase. Exercises, three kinds in four of which
# copy, make up 30 % of the first phase: this brought copying of unseen names forward from 4.9 M to
# 2.7 M tokens. The second phase is there because sums and differences are learnt last.
MIXES = {
    "general": (("xsum", 0.26), ("gsm8k", 0.20), ("mtbench", 0.24), ("exercise", 0.30)),
    "arithmetic": (
        ("xsum", 0.10),
        ("gsm8k", 0.25),
        ("asked", 0.20),
        ("mtbench", 0.10),
        ("sums", 0.35),
    ),
}


def training_mix(split: str, seed: int, mix: str = "general") -> Iterator[list[Turn]]:
    """Endless stream of conversations for one phase of the target's training."""
    kinds = [kind for kind, _ in MIXES[mix]]
    shares = [share for _, share in MIXES[mix]]
    index = 0
    while True:
        rng = random.Random(f"{seed}/mix/{split}/{index}")
        yield _one_of(rng.choices(kinds, shares)[0], rng, split, seed)
        index += 1


def _one_of(kind: str, rng: random.Random, split: str, seed: int) -> list[Turn]:
    if kind == "exercise":
        return [exercises.exercise(rng)]
    if kind == "sums":
        return [exercises.sums(rng)]
    if kind == "asked":  # operands as small as in the questions, drawn from the train split's share
        return conversation("gsm8k", record("gsm8k", "train", rng.randrange(10**9), seed + 1))
    # The index decides the category of an mtbench record. A random index makes the category
    # independent of the record's place in the mix.
    index = rng.randrange(10**9)
    return conversation(kind, record(kind, f"target-{split}", index, seed))
