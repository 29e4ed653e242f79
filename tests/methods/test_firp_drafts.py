"""FIRP's drafts are the right ones: combined, two-pass, training and a slow reference agree.

Token identity cannot show this, since a wrong drafter still yields the target's text.
"""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from harness.decoder import Request, collect
from harness.engine.drafter import Context, Drafter, Outcome
from harness.engine.loop import EngineDecoder
from harness.engine.target import Target
from harness.method import Answer
from methods.firp.drafter import FirpDrafter, MapProducts
from methods.firp.projections import Layout, Projections, load, save
from methods.firp.streams import Streams
from methods.shared.sequences import batch_sequences
from methods.shared.trees import BestFirstTree, StaticTree, TreePolicy, as_trace, ranks, replay
from tests.models import ARCHITECTURES, VOCAB, tiny_model

PROMPT = tuple((11 * i + 3) % VOCAB for i in range(9))
LAYOUTS = {
    "equal": Layout((2, 2, 2)),
    "staggered": Layout((1, 2, 3)),
    "chained": Layout((1, 2, 2), feed="previous"),
    "blind": Layout((1, 1, 2), steps_see_earlier=False),
    "biased": Layout((2, 3), bias=True),
    "adapted": Layout((1, 1, 2), adapters=4),
}
DEPTH = 4  # layers of the tiny models
PATHS = [(0,), (1,), (2,), (0, 0), (0, 1), (1, 0), (0, 0, 0)]


def projections(layout: Layout, size: int = 32) -> Projections:
    """Random maps: the identity would hide a wrong source or a wrong order."""
    torch.manual_seed(3)
    made = Projections(layout, size, DEPTH)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return made


def request(prompt: tuple[int, ...] = PROMPT, new_tokens: int = 30) -> Request:
    return Request(prompt, new_tokens, frozenset())


class Watched(FirpDrafter):
    """Keeps the pseudo logits, the text they belong to, and the tree drafted at every step."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)  # type: ignore[arg-type]
        self.seen: list[tuple[list[int], Tensor, list[int], list[int]]] = []

    def observe(self, context: Context, outcome: Outcome) -> None:
        super().observe(context, outcome)
        drafted = self.draft(context).tokens
        logits = self.pseudo_logits.detach().clone()
        self.seen.append((list(context.tokens), logits, drafted, outcome.path))


def adapted(maps: Projections, place: int, step: int, row: Tensor) -> Tensor:
    """A pseudo row [H] of one step behind its adapter, written out."""
    own = maps.adapters
    assert own is not None
    normed = (row - row.mean()) / (row.var(unbiased=False) + 1e-5).sqrt()
    normed = normed * own.scale[place, step] + own.shift[place, step]
    inner = normed @ own.down[place, step]
    return row + (inner * inner.sigmoid()) @ own.up[place, step]


def reference(target: Target, maps: Projections, tokens: list[int]) -> Tensor:
    """[K, V] pseudo logits after ``tokens``: no cache, no tree, one sequence, a plain causal mask.

    Pseudo row k is simply one more row at the end of the sequence, from its entry layer on.
    """
    layout, body = maps.layout, target.model.model
    hidden = body.embed_tokens(torch.tensor([tokens]))
    real = hidden.shape[1]
    positions = torch.arange(real + layout.steps)
    steps = torch.cat([torch.zeros(real, dtype=torch.long), torch.arange(1, layout.steps + 1)])
    seen = positions[:, None] >= positions
    if not layout.steps_see_earlier:
        seen &= (steps[None] == 0) | (steps[:, None] == steps[None])
    for index, layer in enumerate(body.layers):
        if layout.adapters and index > layout.entry_layers[0]:
            place = index - layout.entry_layers[0] - 1
            pseudo = [adapted(maps, place, k, row) for k, row in enumerate(hidden[0, real:])]
            hidden = torch.cat([hidden[:, :real], torch.stack(pseudo)[None]], dim=1)
        for k, entry in enumerate(layout.entry_layers):
            if entry == index:
                source = hidden[:, -1] if layout.feed == "previous" else hidden[:, real - 1]
                hidden = torch.cat([hidden, maps.maps[k](source)[:, None]], dim=1)
        rows = hidden.shape[1]
        visible = seen[:rows, :rows].clone()
        window = getattr(target.config, "sliding_window", None)
        if target.config.model_type == "mistral" and window:
            visible &= positions[:rows, None] - positions[:rows] < window
        mask = torch.zeros(rows, rows).masked_fill_(~visible, float("-inf"))[None, None]
        rotary = body.rotary_emb(hidden, position_ids=positions[None, :rows])
        hidden = layer(hidden, attention_mask=mask, position_embeddings=rotary)
    return target.model.lm_head(body.norm(hidden))[0, real:]


def watch(
    name: str, layout: Layout, passes: str, policy: TreePolicy | None = None
) -> tuple[Watched, Target, Projections]:
    target, maps = Target(tiny_model(name)), projections(layout)
    policy = policy or StaticTree([p for p in PATHS if len(p) <= layout.steps])
    drafter = Watched(MapProducts(maps, target), policy, passes)
    collect(EngineDecoder(target, drafter), request())
    return drafter, target, maps


@pytest.mark.parametrize("kind", LAYOUTS)
@pytest.mark.parametrize("name", ARCHITECTURES)
@torch.no_grad()
def test_combined_two_pass_and_reference_agree(name: str, kind: str) -> None:
    layout = LAYOUTS[kind]
    combined, target, maps = watch(name, layout, "combined")
    two_pass, _, _ = watch(name, layout, "two_pass")
    assert len(combined.seen) == len(two_pass.seen) > 5
    for one, two in zip(combined.seen, two_pass.seen, strict=True):
        assert one[0] == two[0]
        assert one[2] == two[2], "draft tokens differ"
        assert one[3] == two[3], "accepted paths differ"
        torch.testing.assert_close(one[1], two[1], rtol=0, atol=1e-4)
        # The pseudo rows belong to the token before the root.
        expected = reference(target, maps, one[0][:-1])
        torch.testing.assert_close(one[1], expected, rtol=0, atol=1e-4)


def test_an_accepted_path_leaves_the_chain() -> None:
    """The reference test above would miss wrong rows if only the root were ever the last node."""
    paths = [path for drafter in _all_drafters() for *_, path in drafter.seen]
    assert any(path != list(range(len(path))) for path in paths)


def _all_drafters() -> list[Watched]:
    return [watch(name, LAYOUTS["equal"], "combined")[0] for name in ARCHITECTURES]


@pytest.mark.parametrize("kind", LAYOUTS)
@pytest.mark.parametrize("name", ARCHITECTURES)
@torch.no_grad()
def test_training_logits_equal_decoding_logits(name: str, kind: str) -> None:
    drafter, target, maps = watch(name, LAYOUTS[kind], "combined")
    text = drafter.seen[-1][0]
    answers = [
        Answer(PROMPT, tuple(text[len(PROMPT) :])),
        Answer(PROMPT[:4], tuple(text[4:20])),  # a shorter one, so that padding is exercised
    ]
    batch = batch_sequences(answers, maps.layout.steps, None, torch.Generator())
    streams = Streams(target, maps)
    logits, _ = streams.pseudo(batch, streams.real(batch))
    compared = 0
    for tokens, decoded, *_ in drafter.seen:
        at = len(tokens) - 2 - (len(PROMPT) - 1)
        if at < len(answers[0].answer):
            torch.testing.assert_close(logits[0, :, at], decoded, rtol=0, atol=1e-4)
            compared += 1
    assert compared > 5


def _broken(monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    if fault == "mask":
        everything = lambda self, ancestors: torch.ones(  # noqa: E731
            len(ancestors) * self.steps, len(ancestors) * (1 + self.steps), dtype=torch.bool
        )
        monkeypatch.setattr(FirpDrafter, "_visible", everything)
        return
    if fault == "adapter":
        monkeypatch.setattr(FirpDrafter, "_adapted", lambda *_: {})
        return
    extra_rows = FirpDrafter.extra_rows

    def shifted(self, tree):  # type: ignore[no-untyped-def]
        extra = extra_rows(self, tree)
        if fault == "position":
            return type(extra)(extra.groups, extra.visible, extra.positions - 1, extra.key)
        nodes = len(tree.shape)  # node-major instead of k-major positions and mask
        order = torch.arange(nodes * self.steps).view(self.steps, nodes).T.flatten()
        columns = torch.cat([torch.arange(nodes), nodes + order])
        visible = extra.visible[order][:, columns]
        return type(extra)(extra.groups, visible, extra.positions[order], extra.key)

    monkeypatch.setattr(FirpDrafter, "extra_rows", shifted)


@pytest.mark.parametrize("fault", ["mask", "position", "order", "adapter"])
@torch.no_grad()
def test_control_a_fault_moves_the_drafts(monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    _broken(monkeypatch, fault)
    layout = LAYOUTS["adapted" if fault == "adapter" else "equal"]
    drafter, target, maps = watch("llama", layout, "combined")
    worst = max(
        float((logits - reference(target, maps, tokens[:-1])).abs().max())
        for tokens, logits, *_ in drafter.seen
    )
    assert worst > 0.05
    # ... and, as ever, the text is none the wiser.
    assert drafter.seen[-1][0] == _plain_text(len(drafter.seen[-1][0]))


def _plain_text(length: int) -> list[int]:
    target = Target(tiny_model("llama"))
    tokens, _ = collect(EngineDecoder(target, Drafter()), request())
    return [*PROMPT, *tokens][:length]


@torch.no_grad()
def test_adapters_add_nothing_before_they_are_trained() -> None:
    target, answer = Target(tiny_model("llama")), Answer(PROMPT, tuple(range(1, 12)))
    batch = batch_sequences([answer], 3, None, torch.Generator())
    found = []
    for layout in (LAYOUTS["adapted"], replace(LAYOUTS["adapted"], adapters=0)):
        streams = Streams(target, Projections(layout, 32, DEPTH))
        found.append(streams.pseudo(batch, streams.real(batch))[0])
    assert torch.equal(*found)


def test_adapters_are_read_as_they_were_written(tmp_path: Path) -> None:
    made = projections(LAYOUTS["adapted"])
    save(made, tmp_path, {})
    again = load(tmp_path, 32)
    assert again.between(DEPTH) == range(2, DEPTH)
    assert list(again.state_dict()) == list(made.state_dict())
    for name, value in again.state_dict().items():
        assert torch.equal(value, made.state_dict()[name]), name


@pytest.mark.parametrize("passes", ["combined", "two_pass"])
@pytest.mark.parametrize("policy", [BestFirstTree(6, 3), StaticTree(PATHS), StaticTree([(0,)])])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_firp_is_lossless(name: str, policy: TreePolicy, passes: str) -> None:
    target = Target(tiny_model(name))
    truth, _ = collect(EngineDecoder(target, Drafter()), request())
    maps = MapProducts(projections(LAYOUTS["staggered"]), target)
    drafter = FirpDrafter(maps, policy, passes)
    assert collect(EngineDecoder(target, drafter), request())[0] == truth


@pytest.mark.parametrize("paths", [[(0,), (0, 0), (0, 0, 0)], PATHS])
@torch.no_grad()
def test_replayed_traces_predict_every_step(paths: list[tuple[int, ...]]) -> None:
    target, maps = Target(tiny_model("llama")), Projections(LAYOUTS["equal"], 32)
    drafter = FirpDrafter(MapProducts(maps, target), StaticTree(paths), "combined")
    tokens, records = collect(EngineDecoder(target, drafter), request(new_tokens=60))
    answer = Answer(PROMPT, tuple(tokens))
    batch = batch_sequences([answer], 3, None, torch.Generator())
    streams = Streams(target, maps)
    logits, _ = streams.pseudo(batch, streams.real(batch))
    aims = torch.tensor([*tokens, 0, 0, 0])
    table = torch.stack(
        [ranks(logits[0, k], aims[k + 1 : k + 1 + len(tokens)]) for k in range(3)], dim=1
    )
    table[~batch.valid[0].T] = -1
    predicted = replay([as_trace(table)], paths)
    assert (predicted.steps, predicted.tokens) == (len(records) - 1, len(tokens) - 1)
