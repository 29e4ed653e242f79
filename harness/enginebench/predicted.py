"""Predicted speedups: acceptance figures from elsewhere, with the cost of forwards timed here.

Nothing in these tables was decoded: every line says so, and names the source of its acceptance.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, NotRequired

import numpy as np
import pandas as pd
import yaml
from pydantic import ConfigDict, Field
from typing_extensions import TypedDict

from harness.errors import HarnessError
from harness.files import checked, read_json
from harness.measure.step_cost import ForwardCost, StepCost

KIND = "prediction"
COLUMNS = (
    "kind method passes tokens_per_step rows widest_timed context ar_forward_ms draft_weights_ms "
    "step_ms relative_step predicted_speedup target dtype device acceptance_of acceptance_on source"
).split()
Rows = Annotated[float, Field(ge=1, le=100_000)]
Count = Annotated[int, Field(ge=1, le=100_000)]
Many = Annotated[int, Field(ge=1, le=10**15)]
Share = Annotated[float, Field(gt=0, lt=1)]
Text = Annotated[str, Field(min_length=1)]


@dataclass(frozen=True, slots=True)
class Accepted:
    """An acceptance figure: what a method committed per step, on which model and data; its source.

    ``rows``: root, drafts and window rows of its verify forward, all through all layers; a mean
    need not be whole. ``heads``: number of Medusa's heads, each with a vocabulary matrix of its own
    behind ``head_layers`` square ones. ``pseudo_from``: for FIRP, the entry of each of the K pseudo
    rows, as the share of the stack below it; ``passes``: whether these rows ride along or have a
    forward of their own.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    method: Text
    model: Text
    data: Text
    tokens_per_step: Rows
    rows: Rows
    source: Text
    pseudo_from: list[Share] = field(default_factory=list)
    passes: Literal["", "combined", "two_pass"] = ""
    heads: Annotated[int, Field(ge=0, le=1000)] = 0
    head_layers: Annotated[int, Field(ge=0, le=1000)] = 0

    def __post_init__(self) -> None:
        if bool(self.pseudo_from) != bool(self.passes):
            raise HarnessError(
                f"acceptance of '{self.method}': passes '{self.passes}' with "
                f"{len(self.pseudo_from)} pseudo rows; expected both or neither"
            )
        if self.pseudo_from and self.rows % 1:
            raise HarnessError(
                f"acceptance of '{self.method}': {self.rows} rows, expected a whole number where "
                "each has pseudo rows"
            )


class Profile(TypedDict):
    """A file of acceptance figures."""

    acceptance: list[Accepted]


class _Forward(TypedDict):
    rows: Count
    context: Count
    seconds: Annotated[list[Annotated[float, Field(gt=0, lt=1e6)]], Field(min_length=1)]


class _Bytes(TypedDict):
    weights: Many


class _Machine(TypedDict):
    device: str
    gpu: NotRequired[str]


class Measured(TypedDict):
    """The part of the engine benchmark's ``engine.json`` that a prediction reads."""

    name: str
    dtype: str
    layers: Count
    hidden_size: Count
    vocabulary: Many
    bytes: _Bytes
    machine: _Machine
    forwards: Annotated[list[_Forward], Field(min_length=1)]


def read_profile(path: Path) -> list[Accepted]:
    """The lines of an acceptance profile, YAML or JSON."""
    try:
        content = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise HarnessError(f"{path}: no such file") from None
    except (yaml.YAMLError, ValueError) as error:  # an impossible date raises ValueError
        raise HarnessError(f"{path}: expected YAML, found {' '.join(str(error).split())}") from None
    return checked(Profile, content, str(path), strict=False)["acceptance"]


def read_measured(path: Path) -> Measured:
    """What the engine benchmark timed of a target, from its ``engine.json``."""
    return checked(Measured, read_json(path), str(path))


def predict(measured: Measured, accepted: list[Accepted]) -> pd.DataFrame:
    """One line per acceptance figure and timed context.

    Predicted speedup: tokens per step times the milliseconds of a forward of one row, over those of
    the step. A step is its forwards, and reading its draft weights as fast as the target's weights
    are read in a forward of one row; nothing else that it does is counted.
    """
    cost = _forward_cost(measured)
    lines = [
        _line(measured, cost, claim, context)
        for claim in accepted
        for context in cost.contexts.tolist()
    ]
    return pd.DataFrame(lines, columns=COLUMNS)


def _line(
    measured: Measured, cost: ForwardCost, claim: Accepted, context: int
) -> dict[str, object]:
    entries = [min(cost.layers - 1, round(share * cost.layers)) for share in claim.pseudo_from]
    plain = cost(np.array([1]), np.array([context]))[0]
    drafting = plain * _draft_weights(measured, claim) / measured["bytes"]["weights"]
    drafts = np.array([claim.rows - 1])
    # the tree's shape is unknown: taken for a chain, as far as there are pseudo rows
    step = StepCost(cost, context, drafting, entries).step_ms(claim.passes, drafts, drafts)[0]
    return {
        "kind": KIND,
        "method": claim.method,
        "passes": claim.passes,
        "tokens_per_step": claim.tokens_per_step,
        "rows": claim.rows,
        "widest_timed": int(cost.rows[-1]),
        "context": context,
        "ar_forward_ms": plain,
        "draft_weights_ms": drafting,
        "step_ms": step,
        "relative_step": step / plain,
        "predicted_speedup": claim.tokens_per_step * plain / step,
        "target": measured["name"],
        "dtype": measured["dtype"],
        "device": measured["machine"].get("gpu") or measured["machine"]["device"],
        "acceptance_of": claim.model,
        "acceptance_on": claim.data,
        "source": claim.source,
    }


def _draft_weights(measured: Measured, claim: Accepted) -> float:
    """Bytes of the weights that a step's drafting reads beside the target's forwards.

    FIRP reads a projection for each pseudo row, and once more the target's head, for those rows.
    """
    hidden, vocabulary = measured["hidden_size"], measured["vocabulary"]
    count = claim.heads * (claim.head_layers * hidden**2 + hidden * vocabulary)
    if claim.pseudo_from:
        count += len(claim.pseudo_from) * hidden**2 + hidden * vocabulary
    return count * (4 if measured["dtype"] == "float32" else 2)


def _forward_cost(measured: Measured) -> ForwardCost:
    cells = {
        (forward["rows"], forward["context"]): 1000 * float(np.median(forward["seconds"]))
        for forward in measured["forwards"]
    }
    wide = pd.Series(cells).unstack().sort_index().sort_index(axis=1)
    rows = wide.index.tolist()
    if rows[0] != 1 or len(rows) < 2 or wide.isna().to_numpy().any():
        raise HarnessError(
            f"forwards of '{measured['name']}': rows {rows}, expected 1 and more, all at the same "
            "contexts"
        )
    return ForwardCost(
        wide.index.to_numpy(), wide.columns.to_numpy(), wide.to_numpy(), measured["layers"]
    )
