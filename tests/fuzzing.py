"""Broken input: valid documents with parts cut out, exchanged or overwritten."""

import copy
import json
import os
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from harness.errors import HarnessError

CASES = int(os.environ.get("FUZZ_CASES", "60"))  # a test; `FUZZ_CASES=400` is a search

quickly = settings(
    max_examples=CASES,
    deadline=None,
    derandomize=CASES <= 60,  # the suite is the same every time, a search is not
    database=None,
    suppress_health_check=list(HealthCheck),
)

_WORDS = ["", "../../x", "a b", "$(touch x)", "'", '"', "\x00", "é", "nan", "1e999", "x" * 300]
_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 5),
    st.sampled_from([2**31, 2**63, -(2**63), 10**30]),
    st.sampled_from([float("inf"), float("-inf"), float("nan"), 0.5, -1e300]),
    st.sampled_from(_WORDS),
    st.text(max_size=8),
)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=5,
)


@st.composite
def mutated(draw: st.DrawFn, document: Any) -> Any:
    """``document`` with one to three of its values exchanged, dropped or doubled."""
    document = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(document))
        if not places:
            return draw(_VALUES)
        holder, key = draw(st.sampled_from(places))
        _change(draw, holder, key)
    return document


def _change(draw: st.DrawFn, holder: Any, key: Any) -> None:
    what = draw(st.sampled_from(["value", "value", "drop", "rename", "double"]))
    if what == "value":
        holder[key] = draw(_VALUES)
    elif what == "drop":
        del holder[key]
    elif isinstance(holder, dict):
        new = draw(st.sampled_from(_WORDS) | st.text(max_size=6))
        holder[new] = holder[key] if what == "double" else holder.pop(key)
    else:
        holder.append(copy.deepcopy(holder[key]))


def _places(value: Any) -> Any:
    """Every (container, key) of a document."""
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from _places(value[key])


@st.composite
def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    """``data`` cut off, or with some bytes overwritten, taken out or put in."""
    if draw(st.booleans()):
        return data[: draw(st.integers(0, max(0, len(data) - 1)))]
    changed = bytearray(data)
    # most of a weights file is numbers, and any number will do: aim at its head
    places = st.integers(0, min(len(changed) - 1, 400)) | st.integers(0, len(changed) - 1)
    for _ in range(draw(st.integers(1, 6))):
        at = draw(places)
        changed[at : at + draw(st.integers(0, 4))] = draw(st.binary(max_size=8))
    return bytes(changed)


def lines(documents: list[Any]) -> bytes:
    """As a JSON-lines file."""
    return "".join(json.dumps(document) + "\n" for document in documents).encode()


def parsed_or_refused(call: Callable[[], Any]) -> bool:
    """Whether ``call`` went through; a refusal is one line of a HarnessError, nothing else."""
    try:
        call()
    except HarnessError as error:
        said = str(error)
        if not said.strip() or len(said.splitlines()) > 1:
            pytest.fail(f"expected one line, found {said!r}")
        return False
    return True
