"""Stand-in for XSum: a short news article and the one sentence that sums it up.

Each event has facts; every fact stands in one sentence of the article, among sentences that
do not matter. The summary is a function of the facts alone, so that copying them right is what
Rouge-2 rewards.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

from harness.mini import words


@dataclass(frozen=True, slots=True)
class Story:
    """Opening sentence, the sentences that may follow in any order, and the summary."""

    opening: str
    body: tuple[str, ...]
    summary: str


def article(rng: random.Random) -> tuple[str, str]:
    """One (document, summary) pair."""
    story = rng.choice(_EVENTS)(rng)
    body = list(story.body)
    rng.shuffle(body)
    return " ".join([story.opening, *body]), story.summary


def _injured(count: int) -> tuple[str, str]:
    """How the article and the summary word the number of injured people."""
    if count == 0:
        return "Nobody was hurt.", "but nobody was hurt"
    if count == 1:
        return "One person was taken to hospital.", "and one person was taken to hospital"
    return f"{count} people were taken to hospital.", f"and {count} people were taken to hospital"


def _fire(rng: random.Random) -> Story:
    where, day = words.town(rng), rng.choice(words.DAYS)
    building = rng.choice("library bakery school mill hotel museum theatre station".split())
    cause = rng.choice(
        ("an old heater", "a broken lamp", "a candle", "faulty wiring", "lightning", "a cooker")
    )
    officer, witness = words.distinct(rng, words.person, 2)
    sentence, clause = _injured(rng.randint(0, 9))
    return Story(
        f"Firefighters were called to the {building} in {where} on {day}.",
        (
            f"Fire officer {officer} said that the fire was caused by {cause}.",
            sentence,
            f"{witness}, who lives nearby, saw the smoke first.",
            rng.choice(
                (
                    f"The {building} was built in 19{rng.randint(10, 99)}.",
                    f"The road was closed for {rng.randint(2, 9)} hours.",
                )
            ),
        ),
        f"A fire caused by {cause} has damaged the {building} in {where}, {clause}.",
    )


def _election(rng: random.Random) -> Story:
    where = words.town(rng)
    winner, loser, clerk = words.distinct(rng, words.person, 3)
    votes = rng.randint(21, 98) * 100
    promise = rng.choice(
        ("build more homes", "cut the bus fare", "open a new park", "repair the bridge")
    )
    return Story(
        f"People in {where} voted for a new mayor on {rng.choice(words.DAYS)}.",
        (
            f"{winner} won with {votes} votes.",
            f"{loser}, who came second, said that it was a fair fight.",
            f"The new mayor has promised to {promise}.",
            f"The votes were counted by {clerk} and a team of {rng.randint(11, 60)}.",
        ),
        f"{winner} has been elected mayor of {where} with {votes} votes and a promise to "
        f"{promise}.",
    )


def _match(rng: random.Random) -> Story:
    home, away = words.distinct(rng, words.town, 2)
    scorer, manager = words.distinct(rng, words.person, 2)
    goals = rng.randint(2, 5)
    conceded = rng.randint(0, goals - 1)
    decider = rng.choice(("two goals", "a late goal", "a free kick", "a header"))
    return Story(
        f"{home} played {away} in front of a crowd of {rng.randint(11, 98)}00.",
        (
            f"The match ended {goals}-{conceded} to {home}.",
            f"{scorer} decided it with {decider}.",
            f"Manager {manager} said that the team had worked hard.",
            f"The next match is on {rng.choice(words.DAYS)}.",
        ),
        f"{home} have beaten {away} {goals}-{conceded} thanks to {decider} by {scorer}.",
    )


def _closure(rng: random.Random) -> Story:
    firm, where = words.company(rng), words.town(rng)
    jobs, month = rng.randint(11, 95) * 10, rng.choice(words.MONTHS)
    reason = rng.choice(
        ("rising costs", "falling sales", "a lack of orders", "the price of energy")
    )
    director, worker = words.distinct(rng, words.person, 2)
    return Story(
        f"Staff at {firm} were given bad news on {rng.choice(words.DAYS)}.",
        (
            f"The factory in {where} will close in {month}.",
            f"It employs {jobs} people.",
            f"Director {director} blamed {reason}.",
            f"{worker} has worked there for {rng.randint(11, 40)} years.",
        ),
        f"{firm} is to close its factory in {where} in {month} with the loss of {jobs} jobs, "
        f"blaming {reason}.",
    )


def _award(rng: random.Random) -> Story:
    winner, judge = words.distinct(rng, words.person, 2)
    where, job = words.town(rng), rng.choice(words.JOBS)
    prize = f"{words.surname(rng)} Prize"
    work = rng.choice(
        ("a book about the sea", "a song for children", "a film about bees", "a garden for all")
    )
    money = rng.randint(2, 9) * 1000
    return Story(
        f"The {prize} was handed out on {rng.choice(words.DAYS)}.",
        (
            f"It went to {winner}, a {job} from {where}.",
            f"The judges praised {work}.",
            f"The winner receives {money} pounds.",
            f"{judge}, who led the judges, called it a hard choice.",
        ),
        f"{winner}, a {job} from {where}, has won the {prize} and {money} pounds for {work}.",
    )


def _road(rng: random.Random) -> Story:
    start, end = words.distinct(rng, words.town, 2)
    weeks, speaker = rng.randint(2, 9), words.person(rng)
    work = rng.choice(("a new bridge is built", "pipes are laid", "the surface is repaired"))
    return Story(
        f"Drivers between {start} and {end} will need patience.",
        (
            f"The road will be closed for {weeks} weeks from {rng.choice(words.DAYS)}.",
            f"The road is closed while {work}.",
            f"{speaker} of the council said sorry for the delay.",
            f"About {rng.randint(11, 90)}00 cars use it every day.",
        ),
        f"The road between {start} and {end} will be closed for {weeks} weeks while {work}.",
    )


def _theft(rng: random.Random) -> Story:
    farmer, officer = words.distinct(rng, words.person, 2)
    where, count = words.town(rng), rng.randint(11, 90)
    animals = rng.choice("sheep goats cows geese ponies lambs pigs hens".split())
    vehicle = rng.choice(("a red van", "a white lorry", "a blue car", "a black van"))
    return Story(
        f"Police were called to a farm near {where} on {rng.choice(words.DAYS)}.",
        (
            f"{count} {animals} had been stolen in the night.",
            f"They belong to {farmer}.",
            f"Officers are looking for {vehicle}.",
            f"Sergeant {officer} asked people to call the police.",
        ),
        f"Police are looking for {vehicle} after {count} {animals} belonging to {farmer} were "
        f"stolen near {where}.",
    )


def _rescue(rng: random.Random) -> Story:
    walker, leader = words.distinct(rng, words.person, 2)
    home, job = words.town(rng), rng.choice(words.JOBS)
    hours = rng.randint(3, 40)
    place = f"{words.surname(rng)} {rng.choice(('Peak', 'Ridge', 'Cave', 'Island'))}"
    by = rng.choice(("a helicopter", "a lifeboat", "two dogs", "a climbing team"))
    return Story(
        f"A search ended well at {place} on {rng.choice(words.DAYS)}.",
        (
            f"The missing {job} was {walker} from {home}.",
            f"The rescue by {by} came after {hours} hours.",
            f"{leader}, who led the search, praised everyone.",
            f"The night had been cold, with {rng.randint(2, 9)} degrees.",
        ),
        f"{walker}, a {job} from {home}, has been rescued from {place} by {by} after {hours} "
        "hours.",
    )


def _find(rng: random.Random) -> Story:
    finder, expert = words.distinct(rng, words.person, 2)
    where, count = words.town(rng), rng.randint(11, 90)
    thing = rng.choice(("Roman coins", "silver rings", "old letters", "gold cups", "stone axes"))
    spot = rng.choice(("a field", "a garden", "a cellar", "a river bed", "an attic"))
    museum = f"{words.town(rng)} Museum"
    return Story(
        f"{finder} made a surprising find on {rng.choice(words.DAYS)}.",
        (
            f"{count} {thing} lay in {spot} in {where}.",
            f"They will be shown at {museum}.",
            f"Expert {expert} thinks that they are {rng.randint(2, 18)}00 years old.",
            "Many people came to look.",
        ),
        f"{count} {thing} found by {finder} in {spot} in {where} will be shown at {museum}.",
    )


def _festival(rng: random.Random) -> Story:
    where, month = words.town(rng), rng.choice(words.MONTHS)
    kind = rng.choice("music food book film kite flower".split())
    star, organiser = words.distinct(rng, words.person, 2)
    visitors = rng.randint(11, 98) * 100
    return Story(
        f"{where} is getting ready for its {kind} festival.",
        (
            f"It will be opened by {star} in {month}.",
            f"Organiser {organiser} has worked on it for {rng.randint(2, 9)} months.",
            f"The town expects {visitors} visitors.",
            f"Tickets cost {rng.randint(5, 40)} pounds.",
        ),
        f"{visitors} visitors are expected at the {kind} festival in {where}, which {star} will "
        f"open in {month}.",
    )


_EVENTS: tuple[Callable[[random.Random], Story], ...] = (
    _fire,
    _election,
    _match,
    _closure,
    _award,
    _road,
    _theft,
    _rescue,
    _find,
    _festival,
)
