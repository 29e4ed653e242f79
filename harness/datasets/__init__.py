"""The question sets. To add one, write a module beside these and a line in the table."""

from functools import lru_cache
from importlib import import_module

from harness.datasets.base import Dataset
from harness.errors import HarnessError

# Name in configs, paths and rows -> module with a ``DATASET``.
DATASETS = {
    "mtbench": "harness.datasets.mtbench",
    "gsm8k": "harness.datasets.gsm8k",
    "xsum": "harness.datasets.xsum",
    "specbench": "harness.datasets.specbench",
    "humaneval": "harness.datasets.humaneval",
}


@lru_cache
def find_dataset(name: str) -> Dataset:
    """The question set of that name."""
    if name not in DATASETS:
        raise HarnessError(f"dataset '{name}': expected one of {', '.join(DATASETS)}")
    dataset = import_module(DATASETS[name]).DATASET
    assert isinstance(dataset, Dataset)
    return dataset


def shown_name(name: str) -> str:
    """A set's name in reports; ``name`` itself where it is no longer in the table."""
    return find_dataset(name).shown if name in DATASETS else name
