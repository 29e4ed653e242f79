"""Exercises in copying and arithmetic, for the training of mini's target alone.

Small models learn the form of a text long before they learn to copy a name that they have never
seen. Exercises whose answer is copied text bring that forward. No question set holds exercises.
"""

import random
from collections.abc import Callable

from harness.mini import words


def exercise(rng: random.Random) -> tuple[str, str]:
    """One (user, assistant) turn."""
    return rng.choice(_KINDS)(rng)


def _thing(rng: random.Random) -> str:
    return rng.choice((words.person, words.town, words.company, words.surname))(rng)


def _repeat(rng: random.Random) -> tuple[str, str]:
    names = [_thing(rng) for _ in range(rng.randint(2, 6))]
    listed = ", ".join(names)
    return f"Repeat these names: {listed}.", f"{listed}."


def _follows(rng: random.Random) -> tuple[str, str]:
    names = words.distinct(rng, _thing, rng.randint(4, 7))
    at = rng.randrange(len(names) - 1)
    question = f"Here is a list: {', '.join(names)}. Which name follows {names[at]}?"
    return question, f"{names[at]} is followed by {names[at + 1]}."


def _holders(rng: random.Random) -> tuple[str, str]:
    people = words.distinct(rng, words.person, rng.randint(2, 4))
    goods = words.distinct(rng, lambda r: r.choice(words.GOODS), len(people))
    counts = [rng.randint(2, 99) for _ in people]
    facts = [f"{p} has {c} {g}." for p, c, g in zip(people, counts, goods, strict=True)]
    rng.shuffle(facts)
    at = rng.randrange(len(people))
    return (
        f"{' '.join(facts)} Who has the {goods[at]}?",
        f"{people[at]} has {counts[at]} {goods[at]}.",
    )


def sums(rng: random.Random) -> tuple[str, str]:
    """Sums, differences and products to work out, one a line."""
    expressions, worked = [], []
    for _ in range(rng.randint(2, 5)):
        expression, result = _operation(rng)
        expressions.append(expression)
        worked.append(f"{expression} = {result}")
    return f"Work out {', '.join(expressions)}.", "\n".join(worked)


def _operation(rng: random.Random) -> tuple[str, int]:
    kind = rng.choice("+-*")
    if kind == "*":
        left, right = rng.randint(2, 9), rng.randint(2, 9)
        return f"{left} * {right}", left * right
    left = rng.randint(2, 97)
    if kind == "+":
        right = rng.randint(1, 99 - left)
        return f"{left} + {right}", left + right
    right = rng.randint(1, left - 1)
    return f"{left} - {right}", left - right


_KINDS: tuple[Callable[[random.Random], tuple[str, str]], ...] = (
    _repeat,
    _follows,
    _holders,
    sums,
)
