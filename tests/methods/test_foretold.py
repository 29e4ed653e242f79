"""What tuning foretells without timing: acceptance lengths are exact, speeds follow the rows."""

import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from harness.decoder import Decoder, Emit, Request, Sampling, collect
from harness.engine.drafter import Context, Drafter, Needs
from harness.engine.loop import EngineDecoder
from harness.engine.target import Target
from harness.engine.tree import Tree, chain
from harness.measure.step_cost import ForwardCost
from harness.method import Answer, Job
from methods.firp import tuning as firp_tuning
from methods.firp.drafter import MapProducts
from methods.firp.tuning import _traced, _trials, decoder
from methods.medusa import tuning
from methods.medusa.heads import Heads
from methods.medusa.settings import MedusaSettings
from methods.prompt_lookup import Lookup, PromptLookup, foretell, replayed
from methods.shared import trials as trial_module
from methods.shared.choices import Traced, TreeChoice, tree_choices
from methods.shared.tree_tuning import fixed
from methods.shared.trees import best_first, places
from methods.shared.trials import (
    SKETCHED,
    Sketch,
    Trial,
    foretell_by_decoding,
    foretell_tree,
)
from tests.methods.test_firp_training import job as firp_job
from tests.methods.test_firp_training import train
from tests.models import tiny_model


def _decoded(job: Job, way: Decoder) -> float:
    """Tokens a step, by decoding all requests."""
    records = [collect(way, request)[1][1:] for request in job.requests]
    return sum(len(r.tokens) for one in records for r in one) / sum(map(len, records))


@pytest.mark.parametrize("policy", ["static", "best_first"])
def test_acceptance_is_foretold_as_decoding_has_it(tmp_path: Path, policy: str) -> None:
    job = firp_job(Target(tiny_model("llama")), tmp_path)
    train(job)
    maps, traced = _traced(job, 12)
    found = {}
    for choice in tree_choices(traced.ranks, (policy,), (1, 2, 5, 12), maps.layout.steps):
        measured = _decoded(job, decoder(MapProducts(maps, job.target), choice, "combined"))
        found[choice.drafts] = measured
        assert traced.acceptance_length(choice) == pytest.approx(measured), choice.drafts
    assert len(set(found.values())) > 1, "control: sizes differ in what they accept"


def test_places_are_those_at_which_the_tree_is_built() -> None:
    scores = [[-0.1, -2.0, -3.0], [-0.5, -0.6, -4.0], [-0.2, -1.0, -1.1]]
    nodes = list(best_first(scores, 8))
    paths: list[tuple[int, ...]] = [()]
    for _, rank, parent in nodes:
        paths.append((*paths[parent], rank))
    totals = [sum(scores[d][r] for d, r in enumerate(path)) for path in paths[1:]]
    assert totals == sorted(totals, reverse=True), "the likeliest first"
    assert len(set(paths)) == len(paths)
    for place, path in enumerate(paths[1:], start=1):
        assert places(scores, path, 8)[-1] == place
    assert places(scores, (0, 2, 0), 8) == places(scores, (0,), 8), (
        "where the tree ends, so do they"
    )


def _forwards() -> ForwardCost:
    """A millisecond a row, whatever the context."""
    rows = np.array([1, 64])
    return ForwardCost(rows, np.array([1, 100]), np.array([[1.0, 1.0], [64.0, 64.0]]), layers=4)


def test_a_tree_is_as_fast_as_its_rows_allow(tmp_path: Path) -> None:
    job = firp_job(Target(tiny_model("llama")), tmp_path)
    job = replace(job, forwards=_forwards())
    setting = {"drafts": 3, "depth": 2}
    trial = Trial(setting, EngineDecoder(job.target, Drafter()), predicted=2.0)
    foretell_tree(job, trial)
    assert trial.foretold == pytest.approx(2.0 / 4)
    # Two pseudo rows a node enter at layer 1 and 2 of 4: 4, 8, 12 and 12 rows in the layers.
    foretell_tree(job, trial, "combined", (1, 2))
    assert trial.foretold == pytest.approx(2.0 / 9)
    # Or once, behind the tree: 0, 1, 2 and 2 rows in the layers beside its 4.
    foretell_tree(job, trial, "two_pass", (1, 2))
    assert trial.foretold == pytest.approx(2.0 / (4 + 5 / 4))
    # And what drafting takes outside: a forward of one row costs a millisecond here.
    trial.drafting = 1.5
    foretell_tree(job, trial)
    assert trial.foretold == pytest.approx(2.0 / 5.5)
    unknown = Trial(setting, trial.decoder, predicted=2.0)
    foretell_tree(replace(job, forwards=None), unknown)
    assert unknown.foretold is None, "without costs it has to be timed"


def test_one_decode_foretells_what_cannot_be_traced(tmp_path: Path) -> None:
    job = replace(firp_job(Target(tiny_model("llama")), tmp_path), forwards=_forwards())
    plain = Trial({}, EngineDecoder(job.target, Drafter()))
    looked = Trial({}, EngineDecoder(job.target, PromptLookup(Lookup(drafts=2))))
    foretell_by_decoding(job, [plain, looked])
    assert (plain.predicted, plain.foretold) == (1.0, pytest.approx(1.0))
    assert looked.predicted is not None
    job = replace(job, requests=job.requests[:SKETCHED])
    assert looked.predicted == pytest.approx(_decoded(job, looked.decoder))
    records = [collect(looked.decoder, request)[1][1:] for request in job.requests]
    tokens = sum(len(r.tokens) for one in records for r in one)
    rows = sum(r.rows for one in records for r in one)
    assert looked.foretold == pytest.approx(tokens / rows)
    looked.drafting = 1.5
    foretell_by_decoding(job, [looked])
    assert looked.foretold == pytest.approx(tokens / (rows + 1.5 * sum(map(len, records))))


@pytest.mark.parametrize("match", ["leftmost", "rightmost"])
def test_prompt_lookup_is_foretold_without_a_forward(tmp_path: Path, match: str) -> None:
    """The steps that are replayed are those of decoding, and so is the speedup."""
    job = replace(firp_job(Target(tiny_model("llama")), tmp_path), forwards=_forwards())
    lookup = Lookup(drafts=3, match=match)
    trial = Trial(asdict(lookup), EngineDecoder(job.target, PromptLookup(lookup)))
    whole = Sketch(Trial({}, trial.decoder), _forwards())
    answers = []
    for request in job.requests:
        tokens, records = collect(trial.decoder, request)
        counts, rows = replayed(lookup, request, tokens)
        assert list(counts) == [len(record.tokens) for record in records]
        assert list(rows) == [record.rows for record in records[1:]]
        whole.add(len(request.prompt_ids), counts, rows)
        answers.append(Answer(request.prompt_ids, tuple(tokens)))
    whole.foretell()
    assert whole.tokens > whole.steps, "control: drafts are accepted"
    foretell(replace(job, tune=answers), [trial])
    assert (trial.predicted, trial.foretold) == (whole.trial.predicted, whole.trial.foretold)


def test_an_answer_that_stops_is_replayed_with_the_drafts_beyond_its_end(tmp_path: Path) -> None:
    job = firp_job(Target(tiny_model("llama")), tmp_path)
    decoder, beyond = EngineDecoder(job.target, PromptLookup(Lookup())), 0
    for request in job.requests:
        whole, _ = collect(decoder, request)
        for place in range(1, len(whole)):
            stopping = replace(request, stop_ids=frozenset(whole[place : place + 1]))
            tokens, records = collect(decoder, stopping)
            counts, rows = replayed(Lookup(), stopping, tokens)
            assert list(counts) == [len(record.tokens) for record in records]
            assert list(rows) == [record.rows for record in records[1:]]
            beyond += len(records) > 1 and rows[-1] > counts[-1]
    assert beyond, "control: some drafted on at the end"


def test_prompt_lookup_is_foretold_from_drawn_tokens_where_tokens_are_drawn(tmp_path: Path) -> None:
    job = replace(firp_job(Target(tiny_model("llama")), tmp_path), forwards=_forwards())
    drawn = [replace(r, sampling=Sampling(temperature=1.5, seed=3)) for r in job.requests]
    lookup = Lookup(drafts=3)
    decoder = EngineDecoder(job.target, PromptLookup(lookup))
    found = []
    for requests in (job.requests, drawn):
        trial, work = Trial(asdict(lookup), decoder), replace(job, requests=requests)
        answers = [Answer(r.prompt_ids, tuple(collect(decoder, r)[0])) for r in job.requests]
        foretell(replace(work, tune=answers), [trial])
        assert trial.predicted == pytest.approx(_decoded(work, decoder))
        found.append(trial.predicted)
    assert found[0] != found[1], "control"


def test_the_slower_half_is_foretold_from_one_request_alone(tmp_path: Path) -> None:
    job = replace(firp_job(Target(tiny_model("llama")), tmp_path), forwards=_forwards())
    seen: list[int] = []

    class Counted(EngineDecoder):
        """Tells by whose turn it is which trial decodes."""

        def __init__(self, number: int) -> None:
            super().__init__(job.target, Drafter())
            self.number = number

        def decode(self, request: Request, emit: Emit) -> None:
            seen.append(self.number)
            super().decode(request, emit)

    trials = [Trial({}, Counted(number), drafting=float(number)) for number in range(10)]
    foretell_by_decoding(job, trials)
    turns = [set(seen[:10]), set(seen[10:15]), set(seen[15:])]
    assert turns == [set(range(10)), set(range(5)), set(range(4))], "ever fewer, the faster ones"
    assert [trial.dropped for trial in trials] == [False] * 4 + [True] * 6


def _rejecting(target: Target, prompts: set[tuple[int, ...]]) -> EngineDecoder:
    """A decoder that drafts what is never right after ``prompts``, and nothing elsewhere."""

    class Wrong(Drafter):
        needs = Needs(max_rows=9)

        def draft(self, context: Context) -> Tree:
            drafts = 8 * (tuple(context.tokens)[:3] in {prompt[:3] for prompt in prompts})
            return Tree(chain(drafts), [context.root] * (1 + drafts))

    return EngineDecoder(target, Wrong())


@pytest.mark.parametrize("rounds", [1, 2])
def test_a_request_that_not_all_decoded_counts_for_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rounds: int
) -> None:
    job = replace(firp_job(Target(tiny_model("llama")), tmp_path), forwards=_forwards())
    one, two = job.requests[:2]
    assert one.prompt_ids[:3] != two.prompt_ids[:3]
    job = replace(job, requests=[one, two])
    trials = [Trial({}, _rejecting(job.target, {two.prompt_ids})) for _ in range(4)]
    asked = iter([False] * (3 if rounds == 1 else 6))
    monkeypatch.setattr(trial_module, "out_of_time", lambda job: next(asked, True))
    foretell_by_decoding(job, trials)
    slow = [trial.foretold is not None and trial.foretold < 1 for trial in trials]
    assert slow == [rounds == 2] * 4, "drafts after the second request count for all or for none"


def test_an_answer_of_no_step_leaves_no_trial_out(tmp_path: Path) -> None:
    job = replace(firp_job(Target(tiny_model("llama")), tmp_path), forwards=_forwards())
    trials = [Trial({}, EngineDecoder(job.target, Drafter()), drafting=9.0 - n) for n in range(10)]
    empty = replace(job.requests[0], max_new_tokens=1)
    foretell_by_decoding(replace(job, requests=[empty]), trials)
    assert not any(trial.dropped for trial in trials)
    foretell_by_decoding(replace(job, requests=[empty, job.requests[1]]), trials)
    assert [trial.dropped for trial in trials] == [True] * 5 + [False] * 5, "control"


def test_firps_candidates_are_all_foretold(tmp_path: Path) -> None:
    job = firp_job(Target(tiny_model("llama")), tmp_path)
    train(job)
    maps, traced = _traced(job, 2)
    choice = TreeChoice("best_first", 2, 2)
    assert all(trial.foretold is None for trial in _trials(job, maps, traced, [choice]))
    job = replace(job, forwards=_forwards())
    assert all(trial.foretold is not None for trial in _trials(job, maps, traced, [choice]))


def test_firps_candidates_are_foretold_with_the_time_of_reading_their_drafts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = firp_job(Target(tiny_model("llama")), tmp_path)
    train(job)
    job = replace(job, forwards=_forwards())
    maps, traced = _traced(job, 2)
    choice, times = TreeChoice("best_first", 2, 2), []
    for reading in (0.0, 5.0):
        monkeypatch.setattr(firp_tuning, "milliseconds", lambda *_, ms=reading: ms)
        trials = _trials(job, maps, traced, [choice])
        times.append([trial.predicted / trial.foretold for trial in trials])
    assert np.subtract(times[1], times[0]) == pytest.approx([5.0] * len(times[0]))


def test_foretelling_by_decoding_takes_a_part_of_the_seconds(tmp_path: Path) -> None:
    job = replace(firp_job(Target(tiny_model("llama")), tmp_path), forwards=_forwards())

    def reached(seconds: float | None) -> int:
        trials = [Trial({}, EngineDecoder(job.target, Drafter())) for _ in range(5)]
        foretell_by_decoding(replace(job, seconds=seconds, started=time.monotonic()), trials)
        return sum(trial.foretold is not None for trial in trials)

    assert reached(1e-6) == 1, "one at least"
    assert reached(None) == reached(1e6) == 5, "control"


def test_medusas_candidates_are_foretold_with_the_heads_that_they_need(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = Target(tiny_model("llama"))
    job = replace(firp_job(target, tmp_path), settings=MedusaSettings(), forwards=_forwards())
    heads = Heads(3, 1, target.model.lm_head.weight.detach())
    monkeypatch.setattr(tuning, "_milliseconds", lambda target, heads: 10.0 * heads.count)
    learnt, traced = tuning._learnt(job, heads), Traced([[(0, 0), (1, 0), (0, 1), (0, 0)]], [])
    deep, flat = (fixed(paths) for paths in ([(0,), (0, 0)], [(0,), (1,)]))
    times = []
    for tree in (deep, flat):
        trial = learnt._trial(job, traced, tree)
        assert trial.foretold is not None and trial.predicted is not None
        times.append(trial.predicted / trial.foretold)
    assert times == pytest.approx([3 + 20, 3 + 10])
    blind = replace(learnt, drafting=None)
    assert blind._trial(job, traced, deep).foretold is None, "control: then all are timed"
