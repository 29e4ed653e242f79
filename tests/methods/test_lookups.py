"""Prompt lookup drafts what transformers' own does; transformers' arms report what they commit."""

import copy
from pathlib import Path

import pytest
import torch
from transformers.generation.candidate_generator import PromptLookupCandidateGenerator

from harness.decoder import Request, collect
from harness.engine.drafter import Drafter
from harness.engine.loop import EngineDecoder
from harness.engine.target import SPARE_ROWS, Target
from harness.files import read_json
from harness.measure.timing import run_timed
from harness.method import Job
from methods import load_method
from methods.hf.assisted import HfAssisted
from methods.hf.generate import CACHES, HfGenerate, with_cache
from methods.hf.prompt_lookup import Settings, build
from methods.prompt_lookup import Lookup
from methods.shared.trials import Trial
from tests.models import VOCAB, tiny_model

PROMPT = tuple((11 * (i % 7) + 3) % VOCAB for i in range(17))


def theirs(tokens: list[int], drafts: int, longest: int) -> list[int]:
    generator = PromptLookupCandidateGenerator(
        num_output_tokens=drafts, max_matching_ngram_size=longest, max_length=10_000
    )
    ids = torch.tensor([tokens])
    found, _ = generator.get_candidates(ids)
    return found[0, len(tokens) :].tolist()


@pytest.mark.parametrize("longest", [1, 2, 3])
def test_drafts_are_transformers(longest: int) -> None:
    torch.manual_seed(longest)
    drafted = differing = 0
    for _ in range(200):
        tokens = torch.randint(0, 6, (int(torch.randint(2, 30, (1,))),)).tolist()
        ours = Lookup(4, longest, "leftmost").find(tokens)
        assert ours == theirs(tokens, 4, longest)
        drafted += bool(ours)
        differing += ours != Lookup(4, longest, "rightmost").find(tokens)
    assert drafted > 100
    assert differing > 20, "control: the other end"


def test_the_last_occurrence() -> None:
    tokens = [1, 2, 3, 1, 2, 4, 1, 2]
    assert Lookup(2, 2, "leftmost").find(tokens) == [3, 1]
    assert Lookup(2, 2, "rightmost").find(tokens) == [4, 1]
    assert Lookup(2, 2).find([1, 2, 3]) == []
    assert Lookup(2, 2).find([1]) == []


def test_a_static_cache_has_one_size_for_all_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    target = Target(tiny_model("llama"))
    made = []
    prepare = target.model._prepare_static_cache
    monkeypatch.setattr(
        target.model,
        "_prepare_static_cache",
        lambda *a, **k: made.append(k["max_cache_len"]) or prepare(*a, **k),
    )
    static = {"cache_implementation": "static"}
    for arm in (with_cache(target, "static"), HfGenerate(target, static)):
        target.begin(100 + SPARE_ROWS)
        for cap in (3, 9):
            request = Request(PROMPT, cap, frozenset())
            truth, _ = collect(EngineDecoder(target, Drafter()), request)
            assert collect(arm, request)[0] == truth
    assert made[:2] == [128, 128]
    assert made[2] < made[3] < 128, "control: left to itself"


@pytest.mark.parametrize("faster", CACHES)
def test_the_faster_cache_is_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, faster: str
) -> None:
    target, method = Target(tiny_model("llama")), load_method("hf_generate")
    requests = [Request(PROMPT, cap, frozenset()) for cap in (3, 4, 5)]
    job = Job(target, method.settings(tuning_requests=2), tmp_path, 0, requests=requests)
    monkeypatch.setattr(
        Trial, "speedup", property(lambda trial: 2.0 if trial.setting["cache"] == faster else 1.0)
    )
    method.tune(job)
    assert read_json(tmp_path / "setting.json") == {"cache": faster}
    timed = (tmp_path / "trials.csv").read_text().splitlines()
    assert [line.split(",")[2] for line in timed] == ["requests", "2", "2"]


def test_hf_arms_commit_the_targets_own_tokens() -> None:
    target = Target(tiny_model("llama"))
    arms = {
        "generate": HfGenerate(target, {}),
        "lookup": build(target, Settings(), None),
        "assisted": HfAssisted(target, tiny_model("llama", seed=1), 20, 0.0),
        "itself": HfAssisted(target, copy.deepcopy(tiny_model("llama")), 20, 0.0),
    }
    lengths = {}
    for cap in (40, 7, 1):
        request = Request(PROMPT, cap, frozenset())
        truth, _ = collect(EngineDecoder(target, Drafter()), request)
        for name, arm in arms.items():
            run = run_timed(arm, request, target.device)
            assert run.tokens == truth, name
            assert run.stop_reason(request) == "cap"
            for record in run.records:
                assert record.rows == record.draft_size + 1
                assert len(record.tokens) <= record.rows
            lengths[name, cap] = len(run.tokens) / len(run.records)
    assert lengths["generate", 40] == 1
    assert lengths["itself", 40] > 3, "a draft model that is the target is always right"
    stop = Request(PROMPT, 40, frozenset({truth[0]}))
    for arm in arms.values():
        assert run_timed(arm, stop, target.device).stop_reason(stop) == "stop"


def test_candidates_of_one_draft_model_keep_their_own_number_of_drafts() -> None:
    target, assistant = Target(tiny_model("llama")), copy.deepcopy(tiny_model("llama"))
    few, many = (HfAssisted(target, assistant, drafts, 0.0) for drafts in (2, 5))
    request = Request(PROMPT, 20, frozenset())
    most = [
        max(record.draft_size for record in run_timed(arm, request, target.device).records[1:])
        for arm in (few, many, few)
    ]
    assert most == [2, 5, 2]
