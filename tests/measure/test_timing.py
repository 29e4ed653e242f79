"""What is timed is decoding, not compiling."""

from collections.abc import Iterator

import pytest
import torch
from torch._dynamo.utils import counters

from harness.decoder import Decoder, Request, StepRecord
from harness.errors import HarnessError
from harness.measure.timing import MOST_RUNS, run_timed

REQUEST = Request((1, 2), 3, frozenset())


class Compiling(Decoder):
    """Makes graphs in its first ``runs`` runs; its tokens tell the run."""

    def __init__(self, runs: int) -> None:
        self._runs, self.run = runs, 0

    def steps(self, request: Request) -> Iterator[StepRecord]:
        self.run += 1
        counters["stats"]["unique_graphs"] += self.run <= self._runs
        for _ in range(request.max_new_tokens):
            yield StepRecord((self.run,))


@pytest.mark.parametrize("runs", [0, 1, 3])
def test_a_run_in_which_something_was_compiled_is_not_the_one_that_counts(runs: int) -> None:
    decoder = Compiling(runs)
    found = run_timed(decoder, REQUEST, torch.device("cpu"))
    assert found.tokens == [runs + 1] * 3
    assert decoder.run == runs + 1


def test_what_compiles_without_end_is_refused() -> None:
    with pytest.raises(
        HarnessError, match=f"steps are still compiled or captured in run {MOST_RUNS}"
    ):
        run_timed(Compiling(99), REQUEST, torch.device("cpu"))
