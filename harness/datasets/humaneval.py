"""HumanEval as text: 164 beginnings of Python functions (Chen et al., arXiv 2107.03374).

openai/openai_humaneval. The beginning is the prompt, the answer its continuation. Nothing is
executed, so the quality of answers is not measured.
"""

from harness.datasets.base import Dataset, Layout, Question, Record, text


def _read(record: Record, index: int) -> Question:
    return Question(text(record["task_id"], "task_id"), "code", (text(record["prompt"], "prompt"),))


DATASET = Dataset(shown="HumanEval", layouts=(Layout(("task_id", "prompt"), _read),))
