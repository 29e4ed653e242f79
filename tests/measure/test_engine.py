"""The engine benchmark: what it counts, what it times, and what it does where generate fails."""

import itertools
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import pandas as pd
import pytest
import torch
from transformers import CompileConfig, LlamaForCausalLM

from harness.__main__ import main
from harness.decoder import Decoder, Request, StepRecord, collect
from harness.engine.layers import CHOICES
from harness.engine.stack import EXECUTIONS
from harness.engine.target import Target
from harness.engine.weights import WEIGHTS
from harness.enginebench import arms, bandwidth, command
from harness.enginebench.bandwidth import COPIES, SAMPLES, copy_rates, weight_bytes
from harness.enginebench.command import Subject, measure
from harness.enginebench.record import Round
from harness.enginebench.rounds import Grid, as_round, time_rounds
from harness.enginebench.shapes import SHAPES, random_target
from harness.errors import HarnessError
from harness.experiment.keys import Engine, Model
from harness.measure import timing
from harness.measure.timing import TimedRun
from harness.models import DEVICE_MAPS
from harness.pretrain.train import Shape, llama_config
from methods.hf.generate import HfGenerate
from tests.models import tiny_model

SHAPE = Shape(layers=3, width=32, heads=4, inner=48, vocab=61, context=512, tied=False)
REQUEST = Request((5, 7, 11, 13), 6, frozenset())
GRID = Grid(rows=(1, 4), contexts=(8, 16), repeats=2, rounds=2, tokens=5)
ENGINE = ["autoregressive", "firp_combined", "firp_two_pass"]


def _clock(monkeypatch: pytest.MonkeyPatch, module: Any, step: float) -> None:
    """Every look at the module's clock shows ``step`` seconds more."""
    ticks = itertools.count()
    planted = SimpleNamespace(perf_counter=lambda: step * next(ticks))
    monkeypatch.setattr(module, "time", planted)


def test_a_step_reads_every_parameter_but_the_embedding_table() -> None:
    model = random_target(SHAPE, "float32", "cpu").model
    by_name = {name: p.numel() * 4 for name, p in model.named_parameters()}
    table = by_name.pop("model.embed_tokens.weight")
    assert table == 61 * 32 * 4
    assert weight_bytes(model) == sum(by_name.values())
    assert "lm_head.weight" in by_name, "control: the head is read"
    half = random_target(SHAPE, "bfloat16", "cpu").model
    assert 2 * weight_bytes(half) == weight_bytes(model)


def test_a_table_that_is_the_head_too_is_read() -> None:
    config = llama_config(SHAPE)
    config.tie_word_embeddings = True
    model = LlamaForCausalLM(config)
    assert weight_bytes(model) == sum(4 * p.numel() for p in model.parameters())
    untied = random_target(SHAPE, "float32", "cpu").model
    assert weight_bytes(model) == weight_bytes(untied), "the same matrices are read"


@pytest.mark.parametrize(
    ("shape", "count"), [("135m", 134_515_008), ("7b", 6_738_415_616), ("13b", 13_015_864_320)]
)
def test_shapes_have_the_published_numbers_of_parameters(shape: str, count: int) -> None:
    with torch.device("meta"):
        model = LlamaForCausalLM(llama_config(SHAPES[shape]))
    assert sum(p.numel() for p in model.parameters()) == count


def test_the_config_s_shapes_are_those_that_exist() -> None:
    def named(part: type, field: str) -> tuple[str, ...]:
        (choices,) = (one for one in get_args(part.__annotations__[field]) if get_args(one))
        return get_args(choices)

    assert get_args(get_args(Engine.__annotations__["shapes"])[0]) == tuple(SHAPES)
    assert named(Model, "execution") == EXECUTIONS
    assert named(Model, "layers") == CHOICES
    assert named(Model, "weights") == WEIGHTS
    assert named(Model, "device_map") == DEVICE_MAPS


def test_random_weights_are_in_their_dtype_and_the_same_each_time() -> None:
    one, two = (random_target(SHAPE, "bfloat16", "cpu") for _ in range(2))
    other = random_target(SHAPE, "bfloat16", "cpu", seed=1)
    found = dict(two.model.named_parameters()), dict(other.model.named_parameters())
    for name, parameter in one.model.named_parameters():
        assert parameter.dtype == torch.bfloat16
        assert (parameter == found[0][name]).all()
    head = "lm_head.weight"
    assert not (one.model.lm_head.weight == found[1][head]).all(), "control: another seed"
    assert 0.015 < one.model.lm_head.weight.float().std() < 0.025


def test_copies_count_bytes_read_and_written(monkeypatch: pytest.MonkeyPatch) -> None:
    _clock(monkeypatch, bandwidth, 0.5)
    rates = copy_rates(torch.device("cpu"), size=4096)
    assert rates == [2 * 4096 * COPIES / 0.5] * SAMPLES


def test_a_round_counts_the_decode_phase_alone() -> None:
    records = [StepRecord((1,) * count) for count in (1, 2, 1, 3)]
    found = as_round(TimedRun(records, prefill_seconds=9.0, decode_seconds=1.5), prompt=10)
    # The cache holds all but the newest token: 10, 12 and 13 before the three steps.
    assert found == Round(seconds=1.5, steps=3, tokens=6, committed=(10 + 12 + 13) / 3)


def test_every_round_holds_every_arm_in_an_order_of_its_own() -> None:
    seen = []

    class Toy(Decoder):
        def __init__(self, name: str) -> None:
            self.name = name

        def steps(self, request: Request):
            seen.append(self.name)
            for token in range(request.max_new_tokens):
                yield StepRecord((token,))

    toys = {name: Toy(name) for name in "abcd"}
    found = time_rounds(toys, REQUEST, 6, torch.device("cpu"))
    assert {name: len(rounds) for name, rounds in found.items()} == dict.fromkeys("abcd", 6)
    assert seen[:4] == list("abcd"), "a warm-up of each"
    orders = [tuple(seen[at : at + 4]) for at in range(4, len(seen), 4)]
    assert all(sorted(order) == list("abcd") for order in orders)
    assert len(set(orders)) > 1


def test_firp_s_steps_have_nine_nodes_with_three_pseudo_rows() -> None:
    target = random_target(SHAPE, "float32", "cpu")
    found = arms.engine_arms(target)
    assert list(found) == ENGINE
    truth = collect(found["autoregressive"], REQUEST)[0]
    for name, rows in (("firp_combined", 9 * 4), ("firp_two_pass", 9)):
        tokens, records = collect(found[name], REQUEST)
        assert tokens == truth
        assert {(r.draft_size, r.rows) for r in records[1:]} == {(8, rows)}
    assert arms.firp_facts(target)["entry_layer"] == 1


def test_generate_says_what_the_engine_says() -> None:
    target = random_target(SHAPE, "float32", "cpu")
    truth = collect(arms.engine_arms(target)["autoregressive"], REQUEST)[0]
    found = arms.generate_arms(target)
    assert list(found) == ["hf_dynamic", "hf_static"]
    for name in found:
        assert collect(found[name], REQUEST)[0] == truth


def test_whether_generate_compiled_is_seen() -> None:
    target = random_target(SHAPE, "float32", "cpu")
    traced = arms._compile_config()
    assert isinstance(traced, CompileConfig)
    traced.backend = "eager"  # traces as inductor does, and compiles nothing
    static = {"cache_implementation": "static"}
    decoder = HfGenerate(target, static | {"compile_config": traced})
    assert arms.why_not_compiled(decoder, REQUEST) is None
    plain = HfGenerate(target, static | {"disable_compile": True})
    assert arms.why_not_compiled(plain, REQUEST) == "it ran without compiling"


class _Broken(Decoder):
    def steps(self, request: Request):
        raise RuntimeError("no\ncompiler")


def test_a_compiler_that_fails_costs_its_arm_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = dict.fromkeys(arms.COMPILED, _Broken())
    on_a_cpu = arms.compiled_arms(random_target(SHAPE, "float32", "cpu"), 512)
    assert list(on_a_cpu) == ["hf_compiled"], "fused eager steps are faster there"
    monkeypatch.setattr(command, "compiled_arms", lambda target, slots: broken)
    monkeypatch.setattr(command, "copy_rates", lambda device: [1e9])
    subject = Subject("toy", random_target(SHAPE, "float32", "cpu"), "random", "float32")
    found = measure(subject, GRID, compiled=True)
    why = "context 8: RuntimeError: no compiler"
    assert found["left_out"] == dict.fromkeys(arms.COMPILED, why)
    present = {(line["arm"], line["context"]) for line in found["decodes"]}
    assert present == {
        (arm, context) for arm in [*ENGINE, "hf_dynamic", "hf_static"] for context in (8, 16)
    }


def test_the_share_of_bandwidth_by_a_planted_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each clock look is a second: a decode phase lasts one, whatever it holds."""
    from harness.enginebench.tables import forward_table, step_table
    from harness.measure import cost

    for module in (timing, cost):
        _clock(monkeypatch, module, 1.0)
    monkeypatch.setattr(command, "copy_rates", lambda device: [5e5, 5e5])
    target = random_target(SHAPE, "float32", "cpu")
    subject = Subject("toy", target, "random", "float32")
    found = measure(subject, GRID, compiled=False)
    weights, per_token = weight_bytes(target.model), 3 * 2 * 32 * 4
    assert found["bytes"] == {"weights": weights, "per_token": per_token}
    steps = step_table(found).set_index(["arm", "context"])
    for context in (8, 16):
        # 5 tokens are 4 decode steps, behind context .. context + 3 tokens; they look twice at
        # the clock, once at the first token and once at the end.
        read = weights + (context + 1.5) * per_token
        for arm in ("autoregressive", "hf_dynamic"):
            line = steps.loc[(arm, context)]
            assert line["step_ms"] == 250
            assert line["tokens_per_second"] == 4
            assert line["bandwidth_fraction"] == pytest.approx(read / 0.25 / 5e5)
        assert pd.isna(steps.loc[("firp_combined", context), "bandwidth_fraction"])
    forwards = forward_table(found).set_index(["rows", "context"])
    assert (forwards["forward_ms"] == 1000).all()
    share = forwards.loc[(4, 16), "bandwidth_fraction"]
    assert share == pytest.approx((weights + 16 * per_token) / 5e5)
    assert share != pytest.approx(weights / 5e5), "control: the cache is read too"


def test_the_command_writes_json_tables_text_and_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(bandwidth.BUFFER, "cpu", 1 << 16)
    out = tmp_path / "engine"
    sizes = ["--rows", "1,4", "--contexts", "8,16", "--repeats", "2"]
    counts = ["--rounds", "2", "--tokens", "4", "--no-compile"]
    given = ["--shape", "tiny", "--layers", "2", *sizes, *counts]
    assert main(["--threads", "1", "engine", *given, "--out", str(out)]) == 0
    found = json.loads((out / "engine.json").read_text())
    assert found["name"] == "tiny-2-layers"
    assert found["left_out"] == dict.fromkeys(arms.COMPILED, "not asked for")
    for key in ("machine", "commit", "sources", "packages", "dtype", "weights"):
        assert found[key], key
    assert found["machine"]["threads"] == 1
    stock = found["other_forwards"]["stock"]
    assert [len(f["seconds"]) for f in found["forwards"] + stock] == [2] * 8
    assert [(f["rows"], len(f["seconds"])) for f in found["products"]] == [(1, 2), (4, 2)]
    fused, plain = (found["operations"][way] for way in ("engine", "stock"))
    assert 20 < fused < plain, "fewer operations a layer"
    forwards, steps = (pd.read_csv(out / f"{name}.csv") for name in ("forwards", "steps"))
    assert sorted(zip(forwards["rows"], forwards["context"], strict=True)) == [
        (rows, context) for rows in (1, 4) for context in (8, 16)
    ]
    assert (steps[steps["arm"] == "autoregressive"]["relative_step"] == 1).all()
    marked = steps["counts"].str.contains("cost of a step only")
    assert set(steps[marked]["arm"]) == set(ENGINE[1:])
    assert steps[marked]["tokens_per_second"].isna().all()
    text = (out / "engine.md").read_text()
    assert "HF generate, static, compiled (not asked for)" in text
    assert "cost of a step only: random projections" in text
    assert (out / "engine.svg").read_text().count("<svg") == 1


BAD = [
    (["--shape", "8b"], "shape: '8b', expected one of tiny, 135m, small, medium, 7b, 13b"),
    ([], "engine: expected exactly one of --shape and --model"),
    (["--shape", "tiny", "--model", "x"], "engine: expected exactly one of"),
    (["--shape", "tiny", "--layers", "7"], "layers: 7, expected 1 to 6 of 'tiny'"),
    (["--shape", "tiny", "--weights", "nf4"], "weights: nf4 of a shape, expected it with --model"),
    (["--shape", "tiny", "--device-map", "auto"], "device_map: auto of a shape, expected it"),
    (["--shape", "tiny", "--rows", "1,two"], "--rows: '1,two', expected numbers with commas"),
    (["--shape", "tiny", "--rows", "4,1"], "engine rows: [4, 1], expected ascending numbers"),
    (["--shape", "tiny", "--contexts", "0"], "engine contexts: [0], expected ascending numbers"),
    (["--shape", "tiny", "--rows", "1,512"], "engine rows: 512, expected at most 256"),
    (["--shape", "tiny", "--tokens", "2"], "engine tokens: 2, expected at least 3"),
    (["--shape", "tiny", "--contexts", "9000"], "contexts: 9000 and 128 rows or tokens behind it"),
    (["--model", "no-such-folder"], "model folder 'no-such-folder': no such folder"),
]


@pytest.mark.parametrize(("given", "expected"), BAD)
def test_bad_input_is_one_line(
    given: list[str], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--threads", "1", "engine", *given, "--out", str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(f"error: {expected}")
    assert not (tmp_path / "out").exists()


def test_a_gpu_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(HarnessError, match="device: 'cuda' asked for"):
        random_target(SHAPE, "float16", "cuda")


def test_one_layer_has_no_middle_for_firp_to_enter() -> None:
    shape = Shape(layers=1, width=32, heads=4, inner=48, vocab=61, context=512)
    assert list(arms.engine_arms(random_target(shape, "float32", "cpu"))) == ["autoregressive"]
    assert list(arms.engine_arms(Target(tiny_model("llama")))) == ENGINE, "control"
