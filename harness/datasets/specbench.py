"""Spec-Bench: 480 questions of six tasks (Xia et al., arXiv 2401.07851; its question.jsonl).

Categories are those of its leaderboard, which counts MT-bench's eight as one, multi-turn
conversation. References are of several kinds, and the leaderboard scores none of them, so the
quality of answers is not measured.
"""

from dataclasses import replace

from harness.datasets.base import Dataset, Layout, Question, Record
from harness.datasets.mtbench import read_turns

_TASKS = {
    "translation": "translation",
    "summarization": "summarization",
    "qa": "question answering",
    "math_reasoning": "mathematical reasoning",
    "rag": "retrieval-augmented generation",
}
_CONVERSATION = "multi-turn conversation"


def _read(record: Record, index: int) -> Question:
    question = read_turns(record, index)
    return replace(question, category=_TASKS.get(question.category, _CONVERSATION))


DATASET = Dataset(
    shown="Spec-Bench",
    layouts=(Layout(("question_id", "category", "turns"), _read),),
    has_second_turns=True,
)
