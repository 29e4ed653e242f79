"""Stand-in for MT-bench: eight categories of two-turn conversations.

The second turn always refers to the first, so its answer needs both turns in the context. Six
categories copy facts from the prompt; ``stem`` and ``humanities`` ask for a small fixed body of
knowledge that the target has seen in training.
"""

import random
from collections.abc import Callable

from harness.mini import words
from harness.mini.knowledge import HUMANITIES, STEM

Turns = tuple[tuple[str, str], tuple[str, str]]


def dialogue(rng: random.Random, category: str) -> Turns:
    """Two (user, assistant) turns of one category."""
    return _MAKERS[category](rng)


def _writing(rng: random.Random) -> Turns:
    sender, reader, other = words.distinct(rng, words.person, 3)
    where, day = words.town(rng), rng.choice(words.DAYS)
    event = rng.choice(("a concert", "a dinner", "a picnic", "a book fair", "a dance", "a walk"))
    bring = rng.choice(("some bread", "a warm coat", "a friend", "a cake", "an umbrella", "a song"))

    def letter(to: str) -> str:
        return (
            f"Dear {to},\nI would like to invite you to {event} in {where} on {day}. "
            f"Please bring {bring}. I hope that you can come.\nYours,\n{sender}"
        )

    ask = rng.choice(("Write a letter", "Please write a short letter"))
    return (
        (
            f"{ask} from {sender} to {reader} about {event} in {where} on {day}. Ask for {bring}.",
            letter(reader),
        ),
        (f"Now write the same letter to {other}.", letter(other)),
    )


def _roleplay(rng: random.Random) -> Turns:
    me, guest = words.distinct(rng, words.person, 2)
    where, job = words.town(rng), rng.choice(words.JOBS)
    thing = rng.choice(words.GOODS)
    years = rng.randint(2, 40)
    return (
        (
            f"You are {me}, a {job} from {where} for {years} years. Greet {guest}, who wants to "
            f"see your {thing}.",
            f"Hello {guest}, and welcome to {where}! My name is {me}. I have been a {job} here for "
            f"{years} years. Let me show you my {thing}.",
        ),
        (
            f"Say goodbye to {guest} now.",
            f"Goodbye {guest}, and thank you for your visit! I hope that you liked my {thing}. "
            f"Come back to {where} soon and ask for {me}.",
        ),
    )


def _reasoning(rng: random.Random) -> Turns:
    order = words.distinct(rng, lambda r: r.choice(words.FIRST_NAMES), 3)
    high, low, highest, lowest = rng.choice(
        (
            ("taller", "shorter", "tallest", "shortest"),
            ("older", "younger", "oldest", "youngest"),
            ("faster", "slower", "fastest", "slowest"),
        )
    )
    first, second, third = order
    facts = [f"{first} is {high} than {second}.", f"{third} is {low} than {second}."]
    rng.shuffle(facts)
    return (
        (
            f"{' '.join(facts)} Who is the {highest}?",
            f"{first} is {high} than {second}, and {second} is {high} than {third}. "
            f"So {first} is the {highest}.",
        ),
        (
            f"And who is the {lowest}?",
            f"{third} is {low} than {second}, and {second} is {low} than {first}. "
            f"So {third} is the {lowest}.",
        ),
    )


def _math(rng: random.Random) -> Turns:
    left, right = rng.randint(3, 50), rng.randint(3, 40)
    total = left + right
    step = rng.randint(2, min(40, total - 1))
    return (
        (
            f"What is {left} plus {right}?",
            f"We add {right} to {left}. That gives {left} + {right} = {total}. "
            f"The answer is {total}.",
        ),
        (
            f"Take {step} away from the answer.",
            f"We take {step} away from {total}. That gives {total} - {step} = {total - step}. "
            f"The answer is {total - step}.",
        ),
    )


def _coding(rng: random.Random) -> Turns:
    verb, noun = rng.choice("get make find read load check".split()), rng.choice(words.GOODS)
    name, new_name = f"{verb}_{noun}", f"{rng.choice(words.JOBS)}_{noun}"
    left, right = words.distinct(
        rng, lambda r: r.choice("width height price weight size age".split()), 2
    )
    operation, sign = rng.choice((("sum", "+"), ("difference", "-"), ("product", "*")))

    def code(function: str) -> str:
        return (
            f"def {function}({left}, {right}):\n    # the {operation} of {left} and {right}\n"
            f"    result = {left} {sign} {right}\n    return result"
        )

    return (
        (
            f"Write a Python function {name} that returns the {operation} of {left} and {right}.",
            code(name),
        ),
        (f"Rename the function to {new_name}.", code(new_name)),
    )


def _extraction(rng: random.Random) -> Turns:
    people = words.distinct(rng, words.person, 3)
    ages = words.distinct(rng, lambda r: str(r.randint(18, 79)), 3)
    towns = words.distinct(rng, words.town, 3)
    text = [
        f"{p} is {a} years old and lives in {t}."
        for p, a, t in zip(people, ages, towns, strict=True)
    ]
    chosen = rng.randrange(3)
    return (
        (
            f"List name, age and town of each person. {' '.join(text)}",
            "\n".join(
                f"- name: {p}, age: {a}, town: {t}"
                for p, a, t in zip(people, ages, towns, strict=True)
            ),
        ),
        (
            f"Who lives in {towns[chosen]}?",
            f"{people[chosen]}, who is {ages[chosen]} years old, lives in {towns[chosen]}.",
        ),
    )


def _knowledge(facts: dict[str, tuple[str, str]], rng: random.Random) -> Turns:
    topic = rng.choice(sorted(facts))
    about, more = facts[topic]
    ask = rng.choice(("What is {}?", "Tell me about {}.", "Please explain {}."))
    reader = words.person(rng)
    return (
        (ask.format(topic), about),
        (
            f"Say more about it to {reader}.",
            f"Dear {reader}, {more}",
        ),
    )


def _stem(rng: random.Random) -> Turns:
    return _knowledge(STEM, rng)


def _humanities(rng: random.Random) -> Turns:
    return _knowledge(HUMANITIES, rng)


_MAKERS: dict[str, Callable[[random.Random], Turns]] = {
    "writing": _writing,
    "roleplay": _roleplay,
    "reasoning": _reasoning,
    "math": _math,
    "coding": _coding,
    "extraction": _extraction,
    "stem": _stem,
    "humanities": _humanities,
}
CATEGORIES = tuple(_MAKERS)
