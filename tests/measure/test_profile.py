"""The phase clock: every phase of the decode, each once, and the same tokens as without it."""

from dataclasses import replace

import pytest

from harness.analysis import phases
from harness.commands import profile as profile_command
from harness.decoder import Request, collect
from harness.engine.loop import EngineDecoder
from harness.engine.target import Target
from harness.experiment.records import PHASES, PREFILL
from harness.measure import profile
from harness.measure.profile import PhaseClock, WatchedDecoder
from harness.measure.timing import run_timed
from tests.methods.drafters import ENGINE_METHODS, drafter
from tests.models import tiny_model
from tests.toys import Noting, Random

REQUEST = Request((3, 1, 4, 1, 5), 20, frozenset())


def test_every_phase_of_every_step_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(10_000))
    monkeypatch.setattr(profile.time, "perf_counter", lambda: float(next(ticks)))
    target = Target(tiny_model("llama"))
    clock = PhaseClock(target.device)
    watched = WatchedDecoder(EngineDecoder(target, Random(61)), clock)
    steps = len(collect(watched, REQUEST)[1]) - 1
    # A part lasts a tick. Drafting has four: observe and draft before a step, extra rows and what
    # is wanted of the forward in it; choosing has two, the choice and its read.
    once = dict.fromkeys(PHASES, float(steps)) | {"draft": 4.0 * steps, "choose": 2.0 * steps}
    # the prompt's forward, and of the first step all but observe and draft
    assert clock.seconds == {PREFILL: 8.0, **once}
    collect(watched, REQUEST)
    assert clock.seconds[PREFILL] == 16.0, "a second request has a prefill of its own"


@pytest.mark.parametrize("name", ENGINE_METHODS)
def test_a_watched_decoder_does_the_same_and_phases_fit_into_the_whole(name: str) -> None:
    target = Target(tiny_model("llama"))
    decoder = EngineDecoder(target, drafter(name, target))
    plain = collect(decoder, REQUEST)
    clock = PhaseClock(target.device)
    run = run_timed(WatchedDecoder(decoder, clock), REQUEST, target.device)
    assert run.records == plain[1]
    assert all(seconds > 0 for seconds in clock.seconds.values())
    assert sum(clock.seconds[phase] for phase in PHASES) < run.decode_seconds
    assert clock.seconds[PREFILL] < run.prefill_seconds


def test_a_profile_remembers_every_answer_once_and_no_warm_up() -> None:
    target, notes = Target(tiny_model("llama")), list[tuple[str, int]]()
    requests = [replace(REQUEST, max_new_tokens=n) for n in (5, 3)]
    profile_command._profile(Noting(target, notes), requests, target.device)
    assert [said for said, _ in notes] == ["answered", *["answered", "remembered"] * 2]
    assert [steps for said, steps in notes if said == "remembered"] == [5, 3]


def test_the_analysis_knows_every_phase() -> None:
    """It names them itself, since it must not import torch."""
    assert phases.PHASES == PHASES
