"""Numbers of a config, as people write them."""

import pytest
import yaml

from harness.errors import HarnessError
from harness.method import parse_settings
from harness.numbers import with_numbers
from methods import load_method


@pytest.mark.parametrize(("text", "value"), [("1e3", 1000), ("1e-4", 1e-4), ("-25E+1", -250)])
def test_scientific_notation_is_a_number(text: str, value: float) -> None:
    read = yaml.safe_load(f"a: {{b: [{text}]}}")
    (found,) = with_numbers(read)["a"]["b"]
    assert (found, type(found)) == (value, type(value))
    assert type(with_numbers(2.0)) is int, "as --config reads 2e0"
    assert with_numbers(0.5) == 0.5


@pytest.mark.parametrize("text", ["e3", "1e", "7b", "1e3 tokens", "0x1e3", "1.2.3"])
def test_other_text_stays_text(text: str) -> None:
    assert with_numbers({"a": text}) == {"a": text}
    assert with_numbers({"revision": "1e3"}) == {"revision": "1e3"}, "a commit, whatever its digits"


def test_settings_take_such_numbers() -> None:
    method = load_method("firp")
    assert parse_settings("firp", method, {"learning_rate": "1e-4"}).learning_rate == 1e-4
    assert parse_settings("firp", method, {"training_steps": "1e3"}).training_steps == 1000
    with pytest.raises(HarnessError, match=r"learning_rate: Input .* number, found 'fast'"):
        parse_settings("firp", method, {"learning_rate": "fast"})
