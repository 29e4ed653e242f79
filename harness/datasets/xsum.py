"""XSum: news articles and one-sentence summaries (Narayan et al., arXiv 1808.08745).

EdinburghNLP/xsum on the hub is script-based, which current ``datasets`` refuses, so it is read at
revision ``refs/convert/parquet``. Summaries are scored by Rouge-2 F1 with stemming.
"""

from functools import lru_cache
from typing import Any

from harness.datasets.base import Dataset, Layout, Question, Record, Score, text

SUMMARISE = "Summarise the article in one sentence."  # our own instruction


@lru_cache
def _scorer() -> Any:
    # imported late: it takes over the logging of Snakemake, which imports this module too
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rouge2"], use_stemmer=True)


@lru_cache(maxsize=1 << 16)
def rouge2(prediction: str, reference: str) -> float:
    """Rouge-2 F1 with stemming, 0 to 1."""
    return float(_scorer().score(reference, prediction)["rouge2"].fmeasure)


def _read(record: Record, index: int) -> Question:
    turns = (f"{SUMMARISE}\n{text(record['document'], 'document')}",)
    identifier = str(record.get("id", index))
    return Question(identifier, "summary", turns, (text(record["summary"], "summary"),))


DATASET = Dataset(
    shown="XSum",
    layouts=(Layout(("document", "summary"), _read),),
    score=Score("rouge2", "Rouge-2", rouge2, margin=0.02),
)
