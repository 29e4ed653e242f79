"""The stopwatch around a drafter counts its decode phase, all of it and nothing else."""

import pytest

from harness.decoder import Request, collect
from harness.engine.loop import EngineDecoder
from harness.engine.target import Target
from harness.measure import profile
from harness.measure.profile import Stopwatch, run_watched
from methods.hf_generate import HfGenerate
from tests.models import tiny_model
from tests.toys import Random

REQUEST = Request((3, 1, 4, 1, 5), 20, frozenset())


def test_it_counts_every_call_of_the_decode_phase(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(10_000))
    monkeypatch.setattr(profile.time, "perf_counter", lambda: float(next(ticks)))
    target = Target(tiny_model("llama"))
    watch = Stopwatch(Random(61), target.device)
    _, records = collect(EngineDecoder(target, watch), REQUEST)
    steps = len(records) - 1
    # observe and draft before each decode step, extra_rows in each; each lasts one tick
    assert watch.seconds == 3 * steps
    before = watch.seconds
    collect(EngineDecoder(target, watch), REQUEST)
    assert watch.seconds > before, "a second request goes on"


def test_a_watched_run_decodes_the_same_and_leaves_the_drafter() -> None:
    target = Target(tiny_model("llama"))
    decoder = EngineDecoder(target, Random(61))
    drafter = decoder.drafter
    run, seconds = run_watched(decoder, REQUEST, target.device)
    assert decoder.drafter is drafter
    assert run.tokens == collect(decoder, REQUEST)[0]
    assert seconds is not None
    assert 0 < seconds < run.decode_seconds


def test_a_foreign_decoder_has_no_drafter_to_watch() -> None:
    target = Target(tiny_model("llama"))
    run, seconds = run_watched(HfGenerate(target, {}), REQUEST, target.device)
    assert seconds is None
    assert len(run.tokens) == 20
