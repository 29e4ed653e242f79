"""Tables of the engine benchmark: times with their spread, and shares of the device's bandwidth."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from harness.enginebench.record import Forward, Record, Round
from harness.experiment.folder import write_table
from harness.experiment.records import BASELINE

FORWARDS = (
    "rows context forward_ms low_ms high_ms relative_forward bytes_read bandwidth_fraction "
    "stock_ms graphs_ms products_ms"
).split()
STEPS = (
    "arm context step_ms low_ms high_ms tokens_per_second relative_step relative_low relative_high "
    "bytes_read bandwidth_fraction counts"
).split()
FAST_FIRP = ("firp_combined_compiled", "firp_combined_graphs")
STEP_ONLY = "cost of a step only: random projections"
WHOLE = "tokens"


def write_engine_tables(measured: Record, out: Path) -> None:
    """Write ``forwards.csv`` and ``steps.csv`` from what the benchmark measured."""
    for name, table in (("forwards", forward_table(measured)), ("steps", step_table(measured))):
        write_table(out / f"{name}.csv", table)


def bandwidth_fraction(bytes_read: float, seconds: float, bandwidth: float) -> float:
    """Share of ``bandwidth`` (bytes per second) reached by reading ``bytes_read`` in ``seconds``.

    The bandwidth is that of copies, counting bytes read and written: a device that reads faster
    than it copies can pass 1.
    """
    return bytes_read / seconds / bandwidth


def step_bytes(measured: Record, committed: float) -> float:
    """Bytes that a step must read: all weights, and keys and values of ``committed`` tokens."""
    sizes = measured["bytes"]
    return sizes["weights"] + committed * sizes["per_token"]


def forward_table(measured: Record) -> pd.DataFrame:
    """One line per number of rows and context: a forward's median, lowest and highest milliseconds.

    ``relative_forward``: ratio to one row at the same context, where that was timed. ``stock_ms``
    and ``graphs_ms``: medians with stock layers and with CUDA graphs; ``products_ms``: of the
    matrix products alone. Each is missing where it was not timed.
    """
    times = _by_cell(measured["forwards"])
    others = {way: _by_cell(cells) for way, cells in measured["other_forwards"].items()}
    products = {product["rows"]: product["seconds"] for product in measured["products"]}
    lines = []
    for (rows, context), seconds in sorted(times.items()):
        one_row = times.get((1, context))
        read = step_bytes(measured, context)
        middle = float(np.median(seconds))
        relative = middle / float(np.median(one_row)) if one_row else None
        share = bandwidth_fraction(read, middle, measured["copy"]["rate"])
        beside = [
            _milliseconds(others.get(w, {}).get((rows, context))) for w in ("stock", "graphs")
        ]
        beside.append(_milliseconds(products.get(rows)))
        lines.append([rows, context, *_spread(seconds), relative, read, share, *beside])
    return pd.DataFrame(lines, columns=FORWARDS)


def _by_cell(forwards: list[Forward]) -> dict[tuple[int, int], list[float]]:
    return {(forward["rows"], forward["context"]): forward["seconds"] for forward in forwards}


def _milliseconds(seconds: Sequence[float] | None) -> float | None:
    return None if seconds is None else 1000 * float(np.median(seconds))


def step_table(measured: Record) -> pd.DataFrame:
    """One line per arm and context: a decode step's milliseconds, tokens per second, bandwidth.

    ``relative_*``: median, lowest and highest ratio, within a round, to autoregressive decoding in
    the engine, which is compiled or captured too where FIRP is. FIRP's lines have
    no tokens per second and no bytes, since only the cost of their steps counts.
    """
    rounds = {(d["arm"], d["context"]): d["rounds"] for d in measured["decodes"]}
    lines = []
    for (arm, context), arm_rounds in rounds.items():
        baseline = arm.replace("firp_combined", BASELINE) if arm in FAST_FIRP else BASELINE
        if (baseline, context) not in rounds:
            continue  # the baseline could not be compiled
        line: dict[str, object] = {
            "arm": arm,
            "context": context,
            **_step(arm_rounds, rounds[baseline, context]),
        }
        if arm.startswith("firp_"):
            lines.append(line | {"counts": STEP_ONLY})
        else:
            lines.append(line | {"counts": WHOLE} | _rates(measured, arm_rounds))
    return pd.DataFrame(lines, columns=STEPS)


def _step(arm_rounds: Sequence[Round], plain: Sequence[Round]) -> dict[str, float]:
    """Times of a step, and their ratios to ``plain`` within each round."""
    seconds, base = ([r["seconds"] / r["steps"] for r in part] for part in (arm_rounds, plain))
    ratios = [step / plain_step for step, plain_step in zip(seconds, base, strict=True)]
    middle, low, high = _spread(seconds)
    return {
        "step_ms": middle,
        "low_ms": low,
        "high_ms": high,
        "relative_step": float(np.median(ratios)),
        "relative_low": min(ratios),
        "relative_high": max(ratios),
    }


def _rates(measured: Record, rounds: Sequence[Round]) -> dict[str, float]:
    """Tokens per second and share of the bandwidth, for an arm of one row a step."""
    read = step_bytes(measured, float(np.mean([r["committed"] for r in rounds])))
    step = float(np.median([r["seconds"] / r["steps"] for r in rounds]))
    return {
        "tokens_per_second": float(np.median([r["tokens"] / r["seconds"] for r in rounds])),
        "bytes_read": read,
        "bandwidth_fraction": bandwidth_fraction(read, step, measured["copy"]["rate"]),
    }


def _spread(seconds: Sequence[float]) -> list[float]:
    """Median, lowest and highest, in milliseconds."""
    return [1000 * float(value) for value in (np.median(seconds), min(seconds), max(seconds))]
