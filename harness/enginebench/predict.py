"""Writing predicted speedups as tables that are marked as predictions."""

from collections.abc import Sequence
from pathlib import Path

from harness.enginebench.predicted import predict, read_measured, read_profile
from harness.enginebench.show import show_predictions
from harness.errors import HarnessError
from harness.files import replacing


def write_predictions(measured: Path, profiles: Sequence[Path], out: Path) -> None:
    """Write the predictions for all lines of all profiles as CSV, and as Markdown beside it."""
    accepted = [line for profile in profiles for line in read_profile(profile)]
    if not accepted:
        raise HarnessError(f"acceptance: no line in {', '.join(map(str, profiles))}")
    table = predict(read_measured(measured), accepted)
    with replacing(out) as temporary:
        table.to_csv(temporary, index=False, float_format="%.6g")
    print(show_predictions(table, out.with_suffix(".md")))
