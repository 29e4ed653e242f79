"""Masks and layouts that are in use are not built again."""

from typing import Any

from harness.engine.masks import recall, remember


def test_what_was_longest_unused_goes_first() -> None:
    cache: dict[Any, Any] = {}
    for key in "ab":
        remember(cache, key, key.upper(), limit=2)
    assert recall(cache, "a") == "A"
    remember(cache, "c", "C", limit=2)
    assert recall(cache, "b") is None, "control: the older of two goes, though stored later"
    assert [recall(cache, key) for key in "ac"] == ["A", "C"]
