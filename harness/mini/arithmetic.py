"""Stand-in for GSM8K: worked word problems whose last line is ``#### N``.

Operands stay in the range that a model of a few million parameters learns (sums and differences
below 100, products of single digits); the difficulty lies in following two to four steps. The
target is trained on larger operands than it is asked.
"""

import random
from dataclasses import dataclass, field

from harness.mini import words


@dataclass(slots=True)
class _Problem:
    """A problem in the making: its sentences, its worked steps and the running total."""

    name: str
    goods: str
    largest: int
    total: int = 0
    sentences: list[str] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)

    def say(self, sentence: str) -> None:
        self.sentences.append(sentence)

    def work(self, expression: str, result: int) -> None:
        self.total = result
        self.steps.append(f"{expression} = {result}")


ASKED, TRAINED = 20, 40  # largest number added or taken away at a time


def problem(rng: random.Random, largest: int = ASKED) -> tuple[str, str]:
    """One (question, answer) pair; the answer shows each step and ends in ``#### N``."""
    made = _Problem(rng.choice(words.FIRST_NAMES), rng.choice(words.GOODS), largest)
    _start(rng, made)
    for _ in range(rng.randint(1, 3)):
        rng.choice((_gain, _lose, _pack))(rng, made)
    question = " ".join([*made.sentences, f"How many {made.goods} does {made.name} have now?"])
    worked = "\n".join(_worked_lines(made))
    return question, f"{worked}\n#### {made.total}"


def _worked_lines(made: _Problem) -> list[str]:
    lines = [f"{made.name} has {made.steps[0]} {made.goods} at the start."]
    lines += [f"Then {made.name} has {step} {made.goods}." for step in made.steps[1:]]
    return lines


def _start(rng: random.Random, made: _Problem) -> None:
    if rng.random() < 0.5:
        boxes, each = rng.randint(2, 9), rng.randint(2, 9)
        container = rng.choice(words.CONTAINERS)
        made.say(f"{made.name} has {boxes} {container} with {each} {made.goods} each.")
        made.work(f"{boxes} * {each}", boxes * each)
        return
    first, second = rng.randint(3, made.largest), rng.randint(3, made.largest)
    made.say(f"{made.name} has {first} red {made.goods} and {second} blue {made.goods}.")
    made.work(f"{first} + {second}", first + second)


def _gain(rng: random.Random, made: _Problem) -> None:
    if made.total > 90:
        return _lose(rng, made)
    more = rng.randint(2, min(made.largest, 99 - made.total))
    made.say(
        rng.choice(
            (
                f"{made.name} buys {more} more.",
                f"{rng.choice(words.FIRST_NAMES)} gives {made.name} {more} more.",
                f"{made.name} finds {more} more at home.",
            )
        )
    )
    made.work(f"{made.total} + {more}", made.total + more)
    return None


def _lose(rng: random.Random, made: _Problem) -> None:
    if made.total < 4:
        return _gain(rng, made)
    fewer = rng.randint(2, min(made.largest, made.total - 1))
    made.say(
        rng.choice(
            (
                f"{made.name} loses {fewer} of them.",
                f"{made.name} gives {fewer} to {rng.choice(words.FIRST_NAMES)}.",
                f"{made.name} sells {fewer} of them.",
            )
        )
    )
    made.work(f"{made.total} - {fewer}", made.total - fewer)
    return None


def _pack(rng: random.Random, made: _Problem) -> None:
    """A product of single digits that is then added: two worked steps."""
    boxes, each = rng.randint(2, 5), rng.randint(2, 5)
    if made.total + boxes * each > 99:
        return _lose(rng, made)
    made.say(f"{made.name} buys {boxes} {rng.choice(words.CONTAINERS)} with {each} each.")
    made.work(
        f"{made.total} + {boxes} * {each} = {made.total} + {boxes * each}",
        made.total + boxes * each,
    )
    return None
