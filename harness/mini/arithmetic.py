"""Stand-in for GSM8K: worked word problems whose last line is ``#### N``.

Operands stay in the range that a model of a few million parameters learns (sums and differences
below 100, products of single digits); the difficulty lies in following two to four steps. The
target is trained on larger operands than the questions have.
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
    task = _Problem(rng.choice(words.FIRST_NAMES), rng.choice(words.GOODS), largest)
    _start(rng, task)
    for _ in range(rng.randint(1, 3)):
        rng.choice((_gain, _lose, _pack))(rng, task)
    question = " ".join([*task.sentences, f"How many {task.goods} does {task.name} have now?"])
    worked = "\n".join(_worked_lines(task))
    return question, f"{worked}\n#### {task.total}"


def _worked_lines(task: _Problem) -> list[str]:
    lines = [f"{task.name} has {task.steps[0]} {task.goods} at the start."]
    lines += [f"Then {task.name} has {step} {task.goods}." for step in task.steps[1:]]
    return lines


def _start(rng: random.Random, task: _Problem) -> None:
    if rng.random() < 0.5:
        boxes, each = rng.randint(2, 9), rng.randint(2, 9)
        container = rng.choice(words.CONTAINERS)
        task.say(f"{task.name} has {boxes} {container} with {each} {task.goods} each.")
        task.work(f"{boxes} * {each}", boxes * each)
        return
    first, second = rng.randint(3, task.largest), rng.randint(3, task.largest)
    task.say(f"{task.name} has {first} red {task.goods} and {second} blue {task.goods}.")
    task.work(f"{first} + {second}", first + second)


def _gain(rng: random.Random, task: _Problem) -> None:
    if task.total > 90:
        return _lose(rng, task)
    more = rng.randint(2, min(task.largest, 99 - task.total))
    task.say(
        rng.choice(
            (
                f"{task.name} buys {more} more.",
                f"{rng.choice(words.FIRST_NAMES)} gives {task.name} {more} more.",
                f"{task.name} finds {more} more at home.",
            )
        )
    )
    task.work(f"{task.total} + {more}", task.total + more)
    return None


def _lose(rng: random.Random, task: _Problem) -> None:
    if task.total < 4:
        return _gain(rng, task)
    fewer = rng.randint(2, min(task.largest, task.total - 1))
    task.say(
        rng.choice(
            (
                f"{task.name} loses {fewer} of them.",
                f"{task.name} gives {fewer} to {rng.choice(words.FIRST_NAMES)}.",
                f"{task.name} sells {fewer} of them.",
            )
        )
    )
    task.work(f"{task.total} - {fewer}", task.total - fewer)
    return None


def _pack(rng: random.Random, task: _Problem) -> None:
    """Add a product of single digits, which is worked out in two steps."""
    boxes, each = rng.randint(2, 5), rng.randint(2, 5)
    if task.total + boxes * each > 99:
        return _lose(rng, task)
    task.say(f"{task.name} buys {boxes} {rng.choice(words.CONTAINERS)} with {each} each.")
    task.work(
        f"{task.total} + {boxes} * {each} = {task.total} + {boxes * each}",
        task.total + boxes * each,
    )
    return None
