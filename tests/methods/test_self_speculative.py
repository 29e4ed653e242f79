"""Self-speculation: drafts are those of the target without the sublayers; search is repeatable."""

import copy
import csv
import dataclasses
import importlib
import json
import time
from pathlib import Path

import optuna
import pytest
import torch
from torch import Tensor, nn
from transformers import DynamicCache

from harness.decoder import Request, collect
from harness.engine.drafter import Context, Drafter
from harness.engine.loop import EngineDecoder
from harness.engine.target import Target
from harness.engine.tree import Tree
from harness.errors import HarnessError
from harness.measure.audit import own_gap
from harness.method import Job
from methods.self_speculative import METHOD, Settings
from methods.self_speculative.calibration import Calibration, calibrate
from methods.self_speculative.drafter import AdaptiveThreshold, ExitRule, SkipDrafter, kept
from methods.self_speculative.published import PUBLISHED
from methods.self_speculative.search import Found, Space, search
from tests.methods.drafters import SKIPPED
from tests.methods.test_firp_training import answers
from tests.models import ARCHITECTURES, VOCAB, tiny_model

PROMPT = tuple((11 * i + 3) % VOCAB for i in range(9))


class _NoAttention(nn.Module):
    def forward(self, hidden_states: Tensor, **_: object) -> tuple[Tensor, None]:
        return torch.zeros_like(hidden_states), None


class _NoMlp(nn.Module):
    def forward(self, hidden: Tensor) -> Tensor:
        return torch.zeros_like(hidden)


def without(model, skipped):  # type: ignore[no-untyped-def]
    """A copy of a stock model with sublayers removed."""
    made = copy.deepcopy(model)
    for layer, kind in skipped:
        if kind == "attention":
            made.model.layers[layer].self_attn = _NoAttention()
        else:
            made.model.layers[layer].mlp = _NoMlp()
    return made


class Watched(SkipDrafter):
    """Keeps the committed text of each step and what was drafted behind it."""

    seen: list[tuple[list[int], list[int]]]

    def draft(self, context: Context) -> Tree:
        tree = super().draft(context)
        self.seen.append((list(context.tokens), tree.tokens))
        return tree


def drafted_by(model, full, text: list[int], count: int) -> list[int]:  # type: ignore[no-untyped-def]
    """Greedy drafts of ``model`` behind the keys and values that ``full`` gave the text."""
    cache = DynamicCache(config=full.config)
    full(input_ids=torch.tensor([text[:-1]]), past_key_values=cache)
    ids, found = [text[-1]], []
    for _ in range(count):
        # A removed attention does not advance its layer's length: say where we are.
        at = torch.tensor([[len(text) - 1 + len(found)]])
        out = model(
            input_ids=torch.tensor([ids]),
            past_key_values=cache,
            position_ids=at,
        )
        ids = [int(out.logits[0, -1].argmax())]
        found += ids
    return found


# Mistral's cache is a rolling one, which does not fit a text that grows by hand.
@pytest.mark.parametrize("name", [n for n in ARCHITECTURES if n != "mistral"])
@torch.inference_mode()
def test_drafts_are_those_of_a_model_without_the_sublayers(name: str) -> None:
    full = tiny_model(name)
    target = Target(full)
    drafter = Watched(target, kept(4, SKIPPED), ExitRule(longest=3, threshold=0.0))
    drafter.seen = []
    collect(EngineDecoder(target, drafter), Request(PROMPT, 24, frozenset()))
    smaller, other = without(full, SKIPPED), without(full, SKIPPED[:1])
    assert len(drafter.seen) > 5
    differing = 0
    for text, drafted in drafter.seen:
        count = len(drafted) - 1
        assert drafted[1:] == drafted_by(smaller, full, text, count)
        differing += drafted[1:] != drafted_by(other, full, text, count)
    assert differing, "control: another skip set drafts other tokens"


def test_skipping_nothing_is_always_accepted() -> None:
    target = Target(tiny_model("llama"))
    drafter = SkipDrafter(target, kept(4, ()), ExitRule(longest=3, threshold=0.0))
    _, records = collect(EngineDecoder(target, drafter), Request(PROMPT, 21, frozenset()))
    assert [len(record.tokens) for record in records] == [1, 4, 4, 4, 4, 4]


def test_drafting_stops_when_unsure() -> None:
    target = Target(tiny_model("llama"))
    drafter = SkipDrafter(target, kept(4, SKIPPED), ExitRule(longest=4, threshold=1.1))
    _, records = collect(EngineDecoder(target, drafter), Request(PROMPT, 21, frozenset()))
    assert {record.draft_size for record in records[1:-1]} == {1}, "the unsure one is verified"


def test_the_threshold_moves_as_published() -> None:
    rule = ExitRule(longest=4, threshold=0.6)
    low, high, full = AdaptiveThreshold(rule), AdaptiveThreshold(rule), AdaptiveThreshold(rule)
    low.update(accepted=0, drafted=2)
    assert low.value == pytest.approx(0.9 * 0.6 + 0.1 * 0.61)
    for _ in range(30):
        high.update(accepted=2, drafted=2)
        full.update(accepted=4, drafted=4)
    # The running rate starts at 0 and passes .9 after four full acceptances.
    assert high.value == pytest.approx(0.6 + 3 * 0.001 - 27 * 0.001)
    assert full.value == pytest.approx(0.6 + 3 * 0.001)
    before = low.value
    low.update(accepted=0, drafted=0)
    assert low.value == before


@pytest.mark.parametrize("carried", [False, True])
def test_thresholds_start_anew_unless_carried(carried: bool) -> None:
    target = Target(tiny_model("llama"))
    rule = ExitRule(longest=3, threshold=0.5, carried=carried)
    drafter = SkipDrafter(target, kept(4, SKIPPED), rule)
    _, records = collect(EngineDecoder(target, drafter), Request(PROMPT, 20, frozenset()))
    moved = drafter._threshold.value
    assert moved != 0.5
    drafter.remember(records)
    drafter.begin(Context(target, list(PROMPT), 1))
    assert drafter._threshold.value == (moved if carried else 0.5)


def test_answers_leave_no_trace_until_they_are_remembered() -> None:
    """Warm-ups, runs that are taken again, and audits."""
    target = Target(tiny_model("llama"))
    rule = ExitRule(longest=6, threshold=1.0, carried=True, step=0.2, threshold_memory=0)
    decoder = EngineDecoder(target, SkipDrafter(target, kept(4, ()), rule))
    request = Request(PROMPT, 24, frozenset())
    answer, records = collect(decoder, request)
    assert own_gap(decoder, request, answer, 19) is not None
    assert collect(decoder, request)[1] == records
    decoder.remember(records)
    assert collect(decoder, request)[1] != records, "control"


def test_a_search_carries_the_threshold_over(tmp_path: Path) -> None:
    module = importlib.import_module("methods.self_speculative.search")
    job, costs = _job(tmp_path, 4), Calibration(0.0, 0.0, 0.0, tuple([1.0] * 7))
    steps = [
        module.seconds_per_token(job, costs, kept(4, ()), rule, Space((6,), (1.0,), 2, 1, 3))
        for carried in (False, True)
        for rule in [ExitRule(6, 1.0, carried, step=0.9, threshold_memory=0)]
    ]
    assert steps[1] < steps[0], "its threshold falls, so drafts grow from request to request"


def test_costs_are_measured_anew_where_something_else_runs(tmp_path: Path) -> None:
    job, file = _job(tmp_path, 1), tmp_path / "calibration.json"
    found = calibrate(job, 2, file)
    assert len(found.verify) == 3
    assert calibrate(job, 2, file) == found, "read, not measured"
    static = dataclasses.replace(job, target=Target(tiny_model("llama"), execution="static"))
    assert calibrate(static, 2, file) != found


def test_published_sets() -> None:
    for name, skipped in PUBLISHED.items():
        kinds = [kind for _, kind in skipped]
        counts = (22, 12) if name == "codellama-13b" else (24, 10)
        assert (kinds.count("attention"), kinds.count("mlp")) == counts
        assert len(kept(40, skipped)) == 80 - 34
        with pytest.raises(HarnessError, match="expected layers below 4"):
            kept(4, skipped)


def _job(folder: Path, trials: int) -> Job:
    target = Target(tiny_model("llama"))
    own = answers(target)
    requests = [Request(a.prompt, 12, frozenset()) for a in own]
    settings = Settings(longest=(2, 3), search_trials=trials, search_requests=2)
    return Job(target, settings, folder, 0, own, own, requests)


def test_an_interrupted_search_ends_as_an_unbroken_one(tmp_path: Path) -> None:
    costs = Calibration(1e-4, 2e-5, 3e-5, (4e-4, 5e-4, 6e-4, 7e-4))
    job = _job(tmp_path, 12)
    space = Space((2, 3), (0.4, 0.8), 2, 12, 12)
    whole, none = search(job, costs, space, tmp_path / "whole.journal")
    assert none == 0
    search(job, costs, Space((2, 3), (0.4, 0.8), 2, 5, 12), tmp_path / "broken.journal")
    resumed, earlier = search(job, costs, space, tmp_path / "broken.journal")
    assert whole == resumed
    assert earlier > 0, "the seconds of what was found"
    assert len(whole) == 12
    assert whole[0].seconds_per_token <= whole[-1].seconds_per_token
    hasty = Space((2, 3), (0.4, 0.8), 2, 12, 2)
    impatient, _ = search(job, costs, hasty, tmp_path / "short.journal")
    assert len(impatient) < 12
    other = Job(job.target, job.settings, tmp_path, 1, job.train, job.tune, job.requests)
    assert search(other, costs, space, tmp_path / "other.journal")[0] != whole, "control: the seed"


@pytest.mark.parametrize("moment", [2, 7])
def test_a_search_killed_within_a_trial_ends_as_an_unbroken_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    """The trial is begun again, with the set to begin with if it had one; a torn line goes."""
    costs, journal = Calibration(1e-4, 2e-5, 3e-5, (4e-4, 5e-4, 6e-4, 7e-4)), tmp_path / "killed"
    job, space = _job(tmp_path, 9), Space((2, 3), (0.4, 0.8), 2, 9, 12)
    whole, _ = search(job, costs, space, tmp_path / "whole.journal")
    calls = iter(range(99))

    def kill(*arguments: object) -> float:
        if next(calls) == moment:
            raise SystemExit
        return 1.0

    # the package has a function of the module's name
    module = importlib.import_module("methods.self_speculative.search")
    measured = module.seconds_per_token
    with monkeypatch.context() as patched:
        patched.setattr(module, "seconds_per_token", lambda *a: kill() and measured(*a))
        with pytest.raises(SystemExit):
            search(job, costs, space, journal)
    with journal.open("ab") as stream:
        stream.write(b'{"op_code": 6, "wor')
    (tmp_path / "killed.lock").touch()  # as the killed search left it
    assert search(job, costs, space, journal)[0] == whole


def test_a_search_ends_with_its_seconds_resumed_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    costs = Calibration(1e-4, 2e-5, 3e-5, (4e-4, 5e-4, 6e-4, 7e-4))
    space = Space((2, 3), (0.4, 0.8), 2, 12, 12)
    none = dataclasses.replace(_job(tmp_path, 12), seconds=0.0)
    assert len(search(none, costs, space, tmp_path / "none.journal")[0]) == 1
    journal = tmp_path / "some.journal"
    assert len(search(_job(tmp_path, 12), costs, space, journal)[0]) == 12
    # Nothing is left to a search that has taken its seconds before.
    spent = dataclasses.replace(none, seconds=_seconds_in(journal) / 2, started=time.monotonic())
    assert len(search(spent, costs, space, journal)[0]) == 12
    # Neither trials nor patience end a search that has seconds left, but that all points are tried.
    monkeypatch.setattr(Space, "points", lambda *_: 14)
    longer = dataclasses.replace(spent, seconds=_seconds_in(journal) + 600)
    assert len(search(longer, costs, Space((2, 3), (0.4, 0.8), 2, 12, 1), journal)[0]) == 14


def _seconds_in(journal: Path) -> float:
    """What the trials of a search took."""
    module = importlib.import_module("methods.self_speculative.search")
    (study,) = optuna.get_all_study_summaries(module._storage(journal))
    whole = optuna.load_study(study_name=study.study_name, storage=module._storage(journal))
    return float(module.seconds_taken(whole.trials))


def test_a_search_with_seconds_left_ends_when_every_point_was_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    costs = Calibration(1e-4, 2e-5, 3e-5, (4e-4, 5e-4, 6e-4, 7e-4))
    job = dataclasses.replace(_job(tmp_path, 1), seconds=600.0, started=time.monotonic())
    space = Space((2, 3), (0.4, 0.8), 1, 1, 1)
    assert space.points(4) == 2**8 * 2 * 2
    monkeypatch.setattr(Space, "points", lambda *_: 9)
    assert len(search(job, costs, space, tmp_path / "j")[0]) == 9


def _prepared(folder: Path) -> Job:
    """A job whose skip sets were searched and whose threshold was chosen."""
    job = _job(folder, 4)
    assert METHOD.train is not None
    assert METHOD.tune is not None
    METHOD.train(job)
    METHOD.tune(job)
    return job


def test_two_searches_share_the_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = []

    def searched(job: Job, *_: object) -> tuple[list[Found], float]:
        given.append((job.seed, round(job.seconds or 0.0)))
        return [Found((), 2, 0.4, 1.0)], 0.0

    monkeypatch.setattr("methods.self_speculative.search", searched)
    job = dataclasses.replace(_job(tmp_path, 4), seconds=1000.0, started=time.monotonic())
    assert METHOD.train is not None
    METHOD.train(job)
    assert [seed for seed, _ in given] == [0, 1]
    assert given[0][1] == pytest.approx(500, abs=10), "half of what the calibration left"
    assert given[1][1] == 1000


def test_skip_sets_of_another_target_are_refused(tmp_path: Path) -> None:
    job = _prepared(tmp_path)
    other = Target(tiny_model("llama"), "other")
    assert METHOD.tune is not None
    with pytest.raises(HarnessError, match="skip sets of target , expected other"):
        METHOD.tune(dataclasses.replace(job, target=other))


def test_a_calibration_off_the_decodes_own_step_is_taken_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module("methods.self_speculative.calibration")
    steps = iter([2.0, 1.3, 1.05, 9.0])
    monkeypatch.setattr(module, "_autoregressive_step", lambda _: next(steps))
    monkeypatch.setattr(module, "_measured", lambda *_: Calibration(0.1, 0.1, 0.1, (1.0, 1.1)))
    assert calibrate(_job(tmp_path, 1), 1, tmp_path / "c.json").step == 1.05
    assert next(steps) == 9.0, "control: the third was close, none was taken after it"
    steps = iter([2.0, 1.3, 1.5, 1.0])
    assert calibrate(_job(tmp_path, 1), 1, tmp_path / "d.json").step == 1.3, "the closest of three"


def test_tune_and_decode(tmp_path: Path) -> None:
    job = _prepared(tmp_path)
    decoder = METHOD.build(job.target, job.settings, tmp_path)
    for request in job.requests:
        truth, _ = collect(EngineDecoder(job.target, Drafter()), request)
        assert collect(decoder, request)[0] == truth


def test_the_best_candidate_is_timed_with_its_threshold_carried_and_not(tmp_path: Path) -> None:
    _prepared(tmp_path)
    with (tmp_path / "trials.csv").open() as stream:
        trials = list(csv.DictReader(stream))
    best = max(trials[:-2], key=lambda trial: float(trial["predicted_speedup"]))
    point = ("sublayers_skipped", "longest", "threshold")
    twins = [trial for trial in trials if all(trial[key] == best[key] for key in point)]
    assert {trial["carried"] for trial in twins if trial["role"] != "default"} == {"True", "False"}


def test_a_point_is_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two points, and a sampler that proposes nothing else."""
    module = importlib.import_module("methods.self_speculative.search")
    decoded = []
    monkeypatch.setattr(
        module, "seconds_per_token", lambda *given: decoded.append(given[2:4]) or len(decoded)
    )
    starts = module._starts(4, Space((2,), (0.4,), 2, 99, 99), 0)[:2]
    monkeypatch.setattr(module, "_starts", lambda *_: starts)

    class Stubborn(optuna.samplers.BaseSampler):
        def infer_relative_search_space(self, study, trial):
            return {}

        def sample_relative(self, study, trial, search_space):
            return {}

        def sample_independent(self, study, trial, param_name, param_distribution):
            return starts[0][param_name]

    monkeypatch.setattr(optuna.samplers, "TPESampler", lambda **_: Stubborn())
    costs = Calibration(1e-4, 2e-5, 3e-5, (4e-4, 5e-4, 6e-4))
    found, _ = search(_job(tmp_path, 99), costs, Space((2,), (0.4,), 2, 99, 5), tmp_path / "j")
    assert len(decoded) == len(set(decoded)) == 2
    assert [one.seconds_per_token for one in found] == [1, 2]


def test_a_trial_decodes_no_more_than_its_tokens(tmp_path: Path) -> None:
    module = importlib.import_module("methods.self_speculative.search")
    job, keep, rule = _job(tmp_path, 4), kept(4, ()), ExitRule(longest=2, threshold=0.0)
    costs = Calibration(0.0, 0.0, 0.0, (1.0, 1.0, 1.0))
    short, whole = (
        module.seconds_per_token(job, costs, keep, rule, Space((2,), (0.0,), 2, 1, 1, tokens=n))
        for n in (4, 12)
    )
    # 3 tokens in one step; 11 in four, the last of them cut to two
    assert (short, whole) == (pytest.approx(1 / 3), pytest.approx(4 / 11))


def test_sublayers_of_other_layers_are_not_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    target = Target(tiny_model("llama"), layers="stock")  # fused ones are such by construction
    kind = type(target.layers[1])
    SkipDrafter(
        Target(tiny_model("llama"), layers="stock"), kept(4, SKIPPED), ExitRule()
    )  # control
    monkeypatch.setattr(kind, "forward", _scaled(kind.forward))
    with pytest.raises(HarnessError, match="model type 'llama': its layers are not an attention"):
        SkipDrafter(target, kept(4, SKIPPED), ExitRule())


def _scaled(forward):
    """A layer that does something to its output, as one with a third norm would."""
    return lambda self, *given, **named: 2 * forward(self, *given, **named)


def test_a_target_of_forty_layers_begins_with_the_authors_sets() -> None:
    module = importlib.import_module("methods.self_speculative.search")
    space = Space((2,), (0.4,), 2, 9, 9)
    starts = module._starts(40, space, 0)
    assert len(starts) == len(module._starts(39, space, 0)) + len(PUBLISHED)
    skipped = {
        (layer, kind)
        for layer in range(40)
        for kind in ("attention", "mlp")
        if starts[-1][f"skip {kind} {layer}"]
    }
    assert skipped == list(PUBLISHED.values())[-1]


def test_two_searches_begin_with_other_sets_and_the_authors_way_of_drafting() -> None:
    module = importlib.import_module("methods.self_speculative.search")
    space = Space((2, 8, 12, 16), (0.4, 0.6, 0.9), 2, 9, 9)
    first, second = module._starts(30, space, 0), module._starts(30, space, 1)
    assert all(start not in second for start in first)
    assert {(s["longest"], s["threshold"]) for s in (*first, *second)} == {(12, 0.6)}
    small = module._starts(6, space, 1)
    assert all(small.count(start) == 1 for start in small) and len(small) == 3
    few = module._starts(30, Space((2, 5), (0.1, 0.9), 2, 9, 9), 0)
    assert {(s["longest"], s["threshold"]) for s in few} == {(5, 0.9)}, "the nearest there is"


def _trial(number: int, point: int) -> optuna.trial.FrozenTrial:
    distribution = {"x": optuna.distributions.CategoricalDistribution(tuple(range(99)))}
    return optuna.trial.create_trial(
        params={"x": point}, distributions=distribution, value=float(point == 0) or 2.0 + number
    )


def test_a_point_tried_again_neither_ends_a_search_nor_prolongs_it() -> None:
    module = importlib.import_module("methods.self_speculative.search")
    space = Space((2,), (0.4,), 2, 99, 5)
    # the best is the first; new points come, and the first once more
    for points, goes_on in (
        ([0, 1, 2, 3, 4], True),
        ([0, 1, 2, 3, 4, 0], True),
        ([0, 1, 2, 3, 4, 0, 5], False),  # five points after the best
        ([0, 1, 1, 1, 1, 1], True),
        ([0, 1, 1, 1, 1, 1, 1], False),  # nothing new five times
    ):
        done = [_trial(number, point) for number, point in enumerate(points)]
        assert module._goes_on(done, space, 99, limited=False) is goes_on, points
    assert module._goes_on(done, space, 99, limited=True), "its seconds end it, nothing else"
    assert not module._goes_on(done, space, 2, limited=True), "every point was tried"


def test_an_early_exit_drafts_with_the_first_layers(tmp_path: Path) -> None:
    job = _job(tmp_path, 2)
    early = dataclasses.replace(job.settings, skip_set="exit:2")
    METHOD.train(dataclasses.replace(job, settings=early))
    (point,) = json.loads((tmp_path / "config.json").read_text())["skip_sets"]
    depth = len(job.target.layers)
    wanted = [[layer, kind] for layer in range(2, depth) for kind in ("attention", "mlp")]
    assert point["skipped"] == wanted
    with pytest.raises(HarnessError, match="skip_set: 'exit:4', expected a layer below 4"):
        METHOD.train(
            dataclasses.replace(job, settings=dataclasses.replace(early, skip_set="exit:4"))
        )
    with pytest.raises(HarnessError, match="expected search or"):
        Settings(skip_set="exit:0")
