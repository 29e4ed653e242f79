"""MT-bench: 80 questions of two turns in eight categories (Zheng et al., arXiv 2306.05685).

FastChat's question.jsonl, or HuggingFaceH4/mt_bench_prompts. It has no train split; conversations
(HuggingFaceH4/ultrachat_200k), of which the first two user turns are asked, may replace it.
"""

from harness.datasets.base import (
    MOST_TURNS,
    Dataset,
    Layout,
    Question,
    Record,
    reference_text,
    text,
)


def read_turns(record: Record, index: int) -> Question:
    """A question in FastChat's form; its references answer its turns, in order."""
    turns = tuple(text(turn, "turns") for turn in record["turns"])
    if not 1 <= len(turns) <= MOST_TURNS:
        raise ValueError(f"{len(turns)} turns, expected 1 to {MOST_TURNS}")
    category = record["category"]
    if not isinstance(category, str):
        raise ValueError(f"category is {category!r}, expected text")
    references = tuple(map(reference_text, record.get("reference") or ()))
    return Question(str(record["question_id"]), category, turns, references)


def _of_h4(record: Record, index: int) -> Question:
    columns = {"question_id": record["prompt_id"], "turns": record["prompt"]}
    return read_turns({**record, **columns}, index)


def _conversation(record: Record, index: int) -> Question:
    contents = [message["content"] for message in record["messages"] if message["role"] == "user"]
    turns = tuple(text(turn, "messages") for turn in contents[:MOST_TURNS])
    if not turns:
        raise ValueError("messages without a user's")
    return Question(str(index), "conversation", turns)


DATASET = Dataset(
    shown="MT-bench",
    layouts=(
        Layout(("question_id", "category", "turns"), read_turns),
        Layout(("prompt_id", "category", "prompt"), _of_h4),
        Layout(("messages",), _conversation),
    ),
    has_second_turns=True,
)
