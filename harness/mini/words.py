"""Word lists and the compositional names that every generator draws from.

Names are composed (first + last, prefix + suffix), so that a model cannot know them by heart:
an answer is right only when it copies them from its prompt.
"""

import random

FIRST_NAMES = (
    "Ada Alan Alice Amir Anna Arun Ben Bella Carl Carmen Clara Colin Dana David Dora Edgar Elena "
    "Emma Eric Faith Felix Fiona Frank Gina Grace Greg Hana Harry Helen Hugo Ida Ivan Iris Jack "
    "Jane Joel Julia Karl Kate Kim Lara Leo Lena Liam Lucy Luis Mark Maria Maya Mia Milo Nadia "
    "Nick Nina Noah Nora Olga Omar Oscar Owen Paula Pedro Petra Paul Ravi Rita Robert Rosa Ruth "
    "Sam Sara Simon Sofia Stan Tara Theo Tina Tom Uma Vera Victor Walter Wanda Yusuf Zoe"
).split()

_LAST_START = (
    "Ash Barn Beck Bir Brad Cal Car Clay Cole Dal Dun Fair Fen Gar Gold Hal Har Hol Kel Kings Lang "
    "Lin Mar Mil Nor Oak Pres Rad Ram Red Sand Shel Stan Sut Thorn Wal War Wes Whit Win"
).split()
_LAST_END = "by croft dale den ford ham ley low man more son ter ton well wick wood worth".split()

_TOWN_START = (
    "Alder Amber Ash Beacon Birch Black Bram Bridge Brook Cedar Clear Cliff Copper Crow Deer Eagle "
    "Elm Fern Fox Glen Grand Green Hazel Heron High Iron King Lake Lark Lime Long Maple Mill Moss "
    "New North Oak Otter Pine Queen Raven River Rock Rose Salt Silver South Spring Stone Swan "
    "Thorn West Wild Willow Wolf"
).split()
_TOWN_END = (
    "bank bay bury bridge field ford gate ham haven hill mouth port side stead ton wick".split()
)

COMPANY_ENDS = ("Foods", "Motors", "Textiles", "Glass", "Paper", "Steel", "Toys", "Energy")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September")
JOBS = (
    "teacher farmer nurse baker painter driver doctor writer singer builder engineer student "
    "plumber gardener lawyer"
).split()
GOODS = (
    "apples pens books coins cards shells stamps marbles eggs cakes tickets plates candles ribbons "
    "stickers buttons pears flowers stones keys"
).split()
CONTAINERS = ("boxes", "bags", "baskets", "trays", "crates", "packs")


def person(rng: random.Random) -> str:
    """A first and a last name; 57,800 combinations."""
    return f"{rng.choice(FIRST_NAMES)} {surname(rng)}"


def surname(rng: random.Random) -> str:
    """A composed last name; 680 combinations."""
    return rng.choice(_LAST_START) + rng.choice(_LAST_END)


def town(rng: random.Random) -> str:
    """A composed place name; 880 combinations."""
    return rng.choice(_TOWN_START) + rng.choice(_TOWN_END)


def company(rng: random.Random) -> str:
    """A company named after its founder."""
    return f"{surname(rng)} {rng.choice(COMPANY_ENDS)}"


def distinct(rng: random.Random, make, count: int) -> list[str]:  # type: ignore[no-untyped-def]
    """``count`` different results of ``make(rng)``."""
    results: list[str] = []
    while len(results) < count:
        candidate = make(rng)
        if candidate not in results:
            results.append(candidate)
    return results
