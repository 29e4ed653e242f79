"""Planted bugs, each with the guard that must catch it on the way from decoding to the tables.

A guard that raises is called by its function, a check of fairness by its words, and the audit of
answers that differ from autoregressive decoding's by its verdict.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from harness.decoder import Request, collect
from harness.engine.loop import EngineDecoder
from tests import planted
from tests.lab import CAP, QUESTIONS, Knowing, Lab, prompt, run, stops, target

AUDIT = "METHOD BUG"
ONE_CAP = "no arm's answer is longer than the one cap"
ONE_STOP = "one stop rule: answers end at the first stop token or at the cap"
OWN_TOKENS = "lossless arms give autoregressive decoding's own tokens"


@dataclass(frozen=True)
class Bug:
    """What to plant in the lab; the guard that must speak, and what it must say."""

    plant: Callable[[Lab], None]
    guard: str
    says: str


def engine(kind: type[EngineDecoder]) -> Callable[[Lab], None]:
    return lambda lab: setattr(lab, "fast", kind(target(), Knowing()))


def asks(other: Callable[[Request], Request]) -> Callable[[Lab], None]:
    return lambda lab: setattr(lab, "fast", planted.OtherRequest(other))


def sets(name: str, value: object) -> Callable[[Lab], None]:
    return lambda lab: setattr(lab, name, value)


EVERY_ARM = "6 answers, of autoregressive, fast"
OTHER_PROMPT = prompt(QUESTIONS).input_ids
SAYS_DIFFER = r"fast: \d+ answers differ from autoregressive for no numerical reason"
NO_END = r"decoder ended after {} tokens without a stop id"
BUGS = {
    "drop_a_token": Bug(asks(planted.of_kind(planted.Dropping)), AUDIT, SAYS_DIFFER),
    "drop_a_token_of_a_record": Bug(
        engine(planted.LosesARecordsToken), "TimedRun.stop_reason", NO_END.format(r"1\d")
    ),
    "shift_a_position": Bug(engine(planted.ShiftedPositions), AUDIT, SAYS_DIFFER),
    "accept_one_too_many": Bug(engine(planted.OneTooMany), AUDIT, SAYS_DIFFER),
    "skip_compaction": Bug(engine(planted.NoCompaction), AUDIT, SAYS_DIFFER),
    "commit_one_row_too_few": Bug(engine(planted.OneRowShort), AUDIT, SAYS_DIFFER),
    "siblings_see_each_other": Bug(engine(planted.SiblingsSeen), AUDIT, SAYS_DIFFER),
    "keep_what_follows_the_stop": Bug(
        asks(planted.of_kind(planted.KeepsTheRest)), "TimedRun.stop_reason", NO_END.format("12")
    ),
    "ignore_the_stop": Bug(asks(lambda r: replace(r, stop_ids=frozenset())), AUDIT, SAYS_DIFFER),
    "ignore_the_stop_check": Bug(
        asks(lambda r: replace(r, stop_ids=frozenset())), ONE_STOP, "1 answers, of fast"
    ),
    "count_past_the_end": Bug(
        sets("change", planted.counts_past_the_end), "_checked", r"steps hold \d+"
    ),
    "count_prefill_as_decoding": Bug(
        engine(planted.FirstTwoAsOne),
        "_timed",
        r"first record carries \d tokens, expected exactly 1",
    ),
    "count_two_steps_as_one": Bug(
        engine(planted.TwoStepsAsOne), "_checked", "a step commits 7 tokens and accepts 5 drafts"
    ),
    "stop_late": Bug(
        asks(lambda r: replace(r, max_new_tokens=CAP + 1)),
        "TimedRun.stop_reason",
        NO_END.format(CAP + 1),
    ),
    "stop_late_in_every_arm": Bug(sets("cap", CAP + 1), ONE_CAP, EVERY_ARM),
    "cut_early": Bug(
        asks(lambda r: replace(r, max_new_tokens=CAP - 1)),
        "TimedRun.stop_reason",
        NO_END.format(CAP - 1),
    ),
    "cut_early_in_every_arm": Bug(sets("cap", CAP - 1), ONE_STOP, EVERY_ARM),
    "answer_another_prompt": Bug(
        asks(lambda r: replace(r, prompt_ids=OTHER_PROMPT)), AUDIT, SAYS_DIFFER
    ),
    "pair_another_prompt": Bug(
        sets("change", planted.other_hash), "_check_pairing", "arms saw different token ids"
    ),
    "ask_what_was_not_frozen": Bug(
        sets("asked", [planted.not_frozen(question) for question in range(QUESTIONS)]),
        "frozen_prompts",
        "rows and frozen prompts hold different ids",
    ),
}


@pytest.mark.parametrize("name", BUGS, ids=lambda name: f"{name} by {BUGS[name].guard}")
def test_bug_is_caught_by_its_guard(name: str, tmp_path: Path) -> None:
    bug, lab = BUGS[name], Lab()
    bug.plant(lab)
    caught = run(lab, tmp_path)
    assert bug.guard in caught, f"caught by {caught or 'nothing'}"
    assert re.search(bug.says, caught[bug.guard]), caught
    assert bug.guard != AUDIT or OWN_TOKENS in caught


def test_without_a_bug_nothing_is_caught(tmp_path: Path) -> None:
    assert run(Lab(), tmp_path) == {}


def test_several_drafts_are_accepted_and_cut() -> None:
    """Where nothing is accepted most bugs change nothing."""
    answers = [
        collect(Lab().fast, Request(prompt(q).input_ids, CAP, stops())) for q in range(QUESTIONS)
    ]
    stopped = [tokens[-1] in stops() for tokens, _ in answers]
    assert stopped == [False, True, False, False]
    for _, records in answers:
        assert {record.path for record in records[1:-1]} == {(4, 5, 7), (4, 6)}
    reached = [1 + sum(steps(len(records) - 1)) for _, records in answers]
    assert reached == [22, 12, 22, 22], "all but the last step come whole"
    assert [len(tokens) for tokens, _ in answers] == [20, 10, 20, 20]


def steps(count: int) -> list[int]:
    """Tokens of the first decode steps, uncut."""
    return [(4, 3)[step % 2] for step in range(count)]
