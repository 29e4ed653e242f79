"""One thread, as models are tiny and waiting for a second core costs more; and what runs first."""

import pytest
import torch

torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The whole workflow first: begun later, it would leave the other cores idle at the end."""
    items.sort(key=lambda item: item.path.name != "test_smoke.py")
