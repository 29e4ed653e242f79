"""Medusa: heads, trees and acceptance are upstream's; drafts come from the right row."""

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from medusa.model.medusa_model import ResBlock as UpstreamBlock
from medusa.model.utils import evaluate_posterior, generate_medusa_buffers
from safetensors.torch import load_file
from torch import nn

from harness.decoder import Request, collect
from harness.engine.drafter import Context, Drafter, Outcome
from harness.engine.loop import EngineDecoder
from harness.engine.target import Target
from harness.engine.tree import Tree, TreeShape
from harness.errors import HarnessError
from harness.method import Job
from methods import load_method
from methods.medusa import METHOD
from methods.medusa.drafter import MedusaDrafter
from methods.medusa.heads import PICKLED, WEIGHTS, Heads, load, save
from methods.medusa.settings import MedusaSettings
from methods.medusa.templates import TEMPLATES, cartesian, template
from methods.medusa.typical import TypicalAcceptance
from methods.medusa.variants.package import MedusaLlm
from methods.shared.trees import StaticTree
from tests.methods.drafters import PATHS, fused, random_heads
from tests.methods.test_firp_training import answers
from tests.models import ARCHITECTURES, VOCAB, tiny_model

PROMPT = tuple((11 * i + 3) % VOCAB for i in range(9))


def upstream_heads(heads: Heads, size: int = 32) -> nn.ModuleList:
    made = nn.ModuleList(
        nn.Sequential(
            *(UpstreamBlock(size) for _ in range(heads.layers)), nn.Linear(size, VOCAB, bias=False)
        )
        for _ in range(heads.count)
    )
    made.load_state_dict(heads.state_dict())
    return made


@pytest.mark.parametrize("layers", [0, 1, 2])
@torch.inference_mode()
def test_head_logits_are_upstreams(layers: int) -> None:
    target = Target(tiny_model("llama"))
    heads = random_heads(target, 3, layers)
    upstream = upstream_heads(heads)
    state = torch.randn(1, 32)
    wanted = torch.cat([head(state) for head in upstream])
    found = fused(target, heads)(state)
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(heads(state[None])[0, :, 0], wanted, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(fused(target, heads).first(2)(state), wanted[:2])
    other = torch.cat([upstream[i](state) for i in (1, 0, 2)])
    assert not torch.allclose(found, other, atol=1e-2), "control: another order of heads"


@pytest.mark.parametrize("widths", [(7, 6), (3, 2, 2), (1, 1, 1, 1), (5,)])
def test_cartesian_tree_is_the_packages(widths: tuple[int, ...]) -> None:
    buffers = generate_medusa_buffers([1, *widths], device="cpu")
    policy = StaticTree(cartesian(widths).paths)
    assert torch.equal(buffers["medusa_attn_mask"][0, 0].bool(), policy.shape.ancestors)
    assert buffers["medusa_position_ids"].tolist() == list(policy.shape.depths)
    # The candidate list holds the root and each head's best tokens: give them all distinct ids.
    logits = torch.full((len(widths), 100), -1e4)
    token, listed = 1, [0]
    for depth, width in enumerate(widths):
        for rank in range(width):
            logits[depth, token] = -rank
            listed.append(token)
            token += 1
    drafted = policy.build(0, policy.wanted(logits).tolist())
    assert drafted.tokens == [listed[i] for i in buffers["tree_indices"].tolist()]
    shallow = generate_medusa_buffers([1, *widths[:-1], widths[-1] + 1], device="cpu")
    assert shallow["medusa_attn_mask"].shape[-1] != len(policy.shape), "control"


def test_templates_have_the_published_sizes() -> None:
    sizes = {
        "vicuna_7b_stage1": (10, 32, 20, 1),
        "vicuna_7b_stage2": (10, 23, 23, 7),
        "vicuna_13b_stage1": (10, 29, 23, 1),
        "vicuna_13b_stage2": (10, 19, 25, 9),
        "vicuna_33b_stage1": (10, 34, 19, 0),
        "vicuna_33b_stage2": (10, 24, 24, 5),
        "zephyr_stage2": (10, 27, 23, 3),
        "generic_63": (10, 28, 23, 2),
    }
    assert set(TEMPLATES) == set(sizes)
    for name, wanted in sizes.items():
        found = [sum(len(path) == depth for path in TEMPLATES[name]) for depth in (1, 2, 3, 4)]
        assert tuple(found) == wanted
        assert len(StaticTree(TEMPLATES[name]).shape) == 64
    assert template("generic_63", 2).depth == 2


class Watched(MedusaDrafter):
    """Keeps the head logits and the text that they belong to."""

    seen: list[tuple[list[int], torch.Tensor]]

    def observe(self, context: Context, outcome: Outcome) -> None:
        super().observe(context, outcome)
        self.seen.append((list(context.tokens), self.head_logits.clone()))


@pytest.mark.parametrize("name", ARCHITECTURES)
@torch.inference_mode()
def test_drafts_come_from_the_last_accepted_state(name: str) -> None:
    target = Target(tiny_model(name))
    heads = random_heads(target)
    drafter = Watched(target, fused(target, heads), StaticTree(PATHS))
    drafter.seen = []
    collect(EngineDecoder(target, drafter), Request(PROMPT, 30, frozenset()))
    assert len(drafter.seen) > 5
    for tokens, logits in drafter.seen:
        # The newest token is the root of the next step: the state before it made it.
        out = target.model.model(input_ids=torch.tensor([tokens[:-1]]), use_cache=False)
        states = out.last_hidden_state
        wanted = heads(states[:, -1:])[0, :, 0]
        torch.testing.assert_close(logits, wanted, atol=2e-4, rtol=1e-4)
        shifted = heads(states[:, -2:-1])[0, :, 0]
        assert not torch.allclose(logits, shifted, atol=1e-2), "control: the row before"


@pytest.mark.parametrize("widths", [(7, 6), (3, 2, 2)])
def test_the_package_and_its_twin_agree_step_by_step(widths: tuple[int, ...]) -> None:
    target = Target(tiny_model("llama"))
    heads = random_heads(target)
    peer = MedusaLlm(target, heads, widths)
    twin = EngineDecoder(
        target, MedusaDrafter(target, fused(target, heads), cartesian(widths).build())
    )
    for seed in range(6):
        prompt = tuple((7 * i + 5 * seed + 1) % VOCAB for i in range(4 + 3 * seed))
        request = Request(prompt, 25, frozenset())
        theirs, their_records = collect(peer, request)
        ours, our_records = collect(twin, request)
        assert theirs == ours
        assert [len(r.tokens) for r in their_records] == [len(r.tokens) for r in our_records]
        assert their_records[1:] == our_records[1:]
        stop = Request(prompt, 25, frozenset({ours[9]}))
        assert collect(peer, stop)[0] == collect(twin, stop)[0]


def test_the_package_shares_the_targets_weights() -> None:
    target = Target(tiny_model("llama"))
    peer = MedusaLlm(target, random_heads(target), (3, 2))
    own = {p.data_ptr() for p in target.model.parameters()}
    theirs = {p.data_ptr() for p in peer._model.base_model.parameters()}
    assert theirs == own


def test_the_package_runs_a_tied_target() -> None:
    config = copy.deepcopy(tiny_model("llama").config)
    config.tie_word_embeddings = True
    with torch.inference_mode(False):
        torch.manual_seed(1)
        target = Target(tiny_model("llama").__class__(config))
    heads, request = random_heads(target), Request(PROMPT, 12, frozenset())
    truth, _ = collect(EngineDecoder(target, Drafter()), request)
    peer = MedusaLlm(target, heads, (3, 2))
    assert collect(peer, request)[0] == truth
    base = peer._model.base_model
    assert base.lm_head.weight.data_ptr() == base.model.embed_tokens.weight.data_ptr()


def test_the_package_refuses_another_rope_base() -> None:
    config = copy.deepcopy(tiny_model("llama").config)
    config.rope_parameters = {"rope_type": "default", "rope_theta": 5000.0}
    target = Target(tiny_model("llama").__class__(config).eval())
    with pytest.raises(HarnessError, match="theta 10000"):
        MedusaLlm(target, random_heads(target), (3, 2))


def test_a_tree_deeper_than_the_heads_is_refused() -> None:
    target = Target(tiny_model("llama"))
    with pytest.raises(HarnessError, match="depth 4, expected at most 3"):
        MedusaDrafter(target, fused(target, random_heads(target)), cartesian((2, 1, 1, 1)).build())


def test_the_package_refuses_grouped_keys() -> None:
    target = Target(tiny_model("llama_gqa"))
    with pytest.raises(HarnessError, match="as many key heads as heads"):
        MedusaLlm(target, random_heads(target), (3, 2))


def test_the_package_refuses_heads_that_read_the_target_s_matrix() -> None:
    target = Target(tiny_model("llama"))
    heads = Heads(3, 1, target.model.lm_head.weight.detach(), shared=True)
    with pytest.raises(HarnessError, match="medusa_llm: heads of 'head: shared'"):
        MedusaLlm(target, heads, (3, 2))


def test_typical_acceptance_has_a_tree_of_its_own(tmp_path: Path) -> None:
    target, method = Target(tiny_model("llama")), load_method("medusa_typical")
    save(random_heads(target), tmp_path, "", {})
    templates = ("generic_63", "vicuna_7b_stage1")
    settings = method.settings(1.4, 0.02, drafts=(2, 5), templates=templates)
    own = answers(target)
    requests = [Request(answer.prompt, 12, frozenset()) for answer in own]
    assert method.tune is not None
    method.tune(Job(target, settings, tmp_path, 0, (), own, requests))
    tried = pd.read_csv(tmp_path / "trials.csv")
    sizes = [len(template(name, 3).paths) for name in templates]
    assert sorted(tried["drafts"])[:4] == [2, 2, 5, 5]
    assert list(tried["drafts"][4:]) == sizes
    defaults = tried["role"].fillna("").str.contains("default")
    assert list(defaults) == [False] * 4 + [True, False], "the first of the templates"
    setting = json.loads((tmp_path / "setting.json").read_text())
    decoder = method.build(target, settings, tmp_path)
    _, records = collect(decoder, requests[0])
    assert max(record.draft_size for record in records) == setting["drafts"]
    assert sum(len(record.path) for record in records) > 0, "it accepts some"


@pytest.mark.parametrize("seed", range(20))
def test_typical_acceptance_is_upstreams(seed: int) -> None:
    torch.manual_seed(seed)
    widths, vocab = (3, 2), 12
    policy = StaticTree(cartesian(widths).paths)
    buffers = generate_medusa_buffers([1, *widths], device="cpu")
    tree = Tree(policy.shape, torch.randperm(vocab)[: len(policy.shape)].tolist())
    logits = 1.5 * torch.randn(len(tree.tokens), vocab)
    rule = TypicalAcceptance(temperature=0.7, threshold=0.09, alpha=0.3)
    rows = buffers["retrieve_indices"]
    candidates = torch.tensor(tree.tokens)[rows]
    best, length = evaluate_posterior(logits[rows], candidates, 0.7, 0.09, 0.3)
    wanted = rows[best, : int(length) + 1].tolist()
    assert tree.path(int(rule(tree, logits, torch.empty(0)))) == wanted


def test_an_impossible_root_is_no_reason_to_refuse_drafts() -> None:
    """It is no draft: what the target said of it after itself is of no account."""
    tree = Tree(TreeShape((-1, 0, 1, 0)), [5, 6, 7, 8])
    logits = torch.zeros(4, 10)
    logits[0, 6] = logits[1, 7] = 9.0
    rule = TypicalAcceptance()
    assert int(rule(tree, logits, torch.empty(0))) == 2
    logits[0, 5] = logits[0, 8] = -torch.inf
    assert int(rule(tree, logits, torch.empty(0))) == 2
    logits[1, 7] = -torch.inf
    assert int(rule(tree, logits, torch.empty(0))) == 1


def test_heads_survive_saving_and_loading(tmp_path: Path) -> None:
    target = Target(tiny_model("llama"))
    heads, projection = random_heads(target), target.model.lm_head.weight.detach()
    save(heads, tmp_path, "a model", {"target_hash": "x"})
    for name, value in load(tmp_path, projection, "x").state_dict().items():
        assert torch.equal(value, heads.state_dict()[name])
    # Published heads are pickled tensors and name no target.
    torch.save(load_file(tmp_path / WEIGHTS), tmp_path / PICKLED)
    (tmp_path / WEIGHTS).unlink()
    assert torch.equal(load(tmp_path, projection)[0][-1].weight, heads[0][-1].weight)
    with pytest.raises(HarnessError, match="heads of target x, expected y"):
        load(tmp_path, projection, "y")
    config = tmp_path / "config.json"
    config.write_text(config.read_text().replace('"medusa_num_heads": 3', '"medusa_num_heads": 2'))
    with pytest.raises(HarnessError, match="medusa_num_heads is 2, expected 3"):
        load(tmp_path, projection)
    config.write_text(config.read_text().replace('"medusa_num_heads": 2', '"medusa_num_heads": 3'))
    load(tmp_path, projection)  # control
    with pytest.raises(HarnessError, match=rf"0.1.weight: .* expected \({VOCAB + 1}, 32\)"):
        load(tmp_path, torch.zeros(VOCAB + 1, 32))


class _Evil:
    def __reduce__(self):  # type: ignore[no-untyped-def]
        return (print, ("executed",))


def test_a_pickle_with_code_is_not_run(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    target = Target(tiny_model("llama"))
    save(random_heads(target), tmp_path, "a model", {})
    (tmp_path / WEIGHTS).unlink()
    torch.save(_Evil(), tmp_path / PICKLED)
    with pytest.raises(HarnessError, match=PICKLED):
        load(tmp_path, target.model.lm_head.weight.detach())
    assert "executed" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("loss", "head"), [("cross_entropy", "own"), ("kl", "own"), ("kl", "shared")]
)
def test_train_tune_and_decode(tmp_path: Path, loss: str, head: str) -> None:
    target = Target(tiny_model("llama"))
    settings = MedusaSettings(
        heads=2,
        loss=loss,
        head=head,
        training_steps=6,
        batch=2,
        evaluate_every=2,
        drafts=(2, 3),
        templates=("generic_63",),
    )
    own = answers(target)
    requests = [Request(a.prompt, 12, frozenset()) for a in own]
    job = Job(target, settings, tmp_path, 0, own, own, requests)
    assert METHOD.train is not None and METHOD.tune is not None
    METHOD.train(job)
    rows = (tmp_path / "curves.csv").read_text().splitlines()
    losses = [float(line.split(",")[rows[0].split(",").index("tune_loss")]) for line in rows[1:]]
    assert min(losses) < losses[0]
    METHOD.tune(job)
    decoder = METHOD.build(target, settings, tmp_path)
    for request in requests:
        truth, _ = collect(EngineDecoder(target, Drafter()), request)
        assert collect(decoder, request)[0] == truth


def test_changed_heads_are_refused(tmp_path: Path) -> None:
    target = Target(tiny_model("llama"))
    save(random_heads(target), tmp_path, "a model", {})
    weights = tmp_path / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(HarnessError, match=r"SHA-256 is \w+, expected \w+"):
        load(tmp_path, target.model.lm_head.weight.detach())


QUIET = """
from tests.models import tiny_model
from harness.decoder import Request, collect
from harness.engine.target import Target
from methods.medusa.variants import package as medusa_llm
from methods.medusa.heads import Heads
{change}
target = Target(tiny_model("llama"))
heads = Heads(2, 1, target.model.lm_head.weight.detach())
collect(medusa_llm.MedusaLlm(target, heads, (2, 2)), Request((1, 2, 3), 6, frozenset()))
"""


@pytest.mark.parametrize(
    ("change", "warning"),
    [
        ("", ""),
        ("medusa_llm._OldLlama = medusa_llm.LlamaForCausalLM", "GenerationMixin"),
        ("medusa_llm._OldConfig = medusa_llm.LlamaConfig", "use_return_dict"),
    ],
)
def test_the_package_does_not_fill_the_terminal_with_warnings(change: str, warning: str) -> None:
    command = [sys.executable, "-c", QUIET.format(change=change)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (done.stdout, bool(done.stderr)) == ("", bool(warning))
    assert warning in done.stderr, "control: what is said without the old names"


def shared_heads(target: Target) -> Heads:
    heads = Heads(3, 1, target.model.lm_head.weight.detach(), shared=True)
    torch.manual_seed(4)
    with torch.no_grad():
        for parameter in heads.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return heads


@torch.no_grad()
def test_shared_heads_read_the_target_s_own_matrix(tmp_path: Path) -> None:
    target = Target(tiny_model("llama"))
    heads, projection = shared_heads(target), target.model.lm_head.weight.detach()
    state = torch.randn(1, 32)
    blocks: list[Any] = list(heads)
    wanted = torch.cat([target.model.lm_head(head(state)) for head in blocks])
    torch.testing.assert_close(fused(target, heads)(state), wanted, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(heads(state[None])[0, :, 0], wanted, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(fused(target, heads).first(2)(state), wanted[:2])
    assert fused(target, heads).bytes == sum(p.nbytes for p in heads.parameters())
    save(heads, tmp_path, "a model", {})
    torch.testing.assert_close(load(tmp_path, projection)(state[None])[0, :, 0], wanted)
    config = tmp_path / "config.json"
    config.write_text(config.read_text().replace('"medusa_head": "shared",', ""))
    with pytest.raises(HarnessError, match="medusa_num_layers is 1, expected 0"):
        load(tmp_path, projection)
