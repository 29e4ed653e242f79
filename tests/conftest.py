"""One thread, as models are tiny and waiting for a second core costs more; and what runs when."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent
# The whole workflow, kills and faults: minutes each. `pytest -m whole` runs them, CI both sets.
WHOLE = ("faults", "workflow/test_smoke.py", "workflow/test_kill.py", "workflow/test_slurm.py")

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """A subcommand called in a test sets its own number; the tests after it would keep that."""
    yield
    torch.set_num_threads(1)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the whole ones, and put the workflow first: begun later, it would leave the other cores
    idle at the end.
    """
    whole = [HERE / name for name in WHOLE]
    for item in items:
        if any(item.path.is_relative_to(place) for place in whole):
            item.add_marker("whole")
    items.sort(key=lambda item: item.path.name != "test_smoke.py")
