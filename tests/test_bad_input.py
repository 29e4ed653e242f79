"""Each kind of bad input gets one line that names the thing, what was found and what expected."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from transformers import GPT2Config, GPT2LMHeadModel

from harness.__main__ import main
from harness.data.questions import load_questions
from harness.engine.target import Target
from harness.errors import HarnessError
from harness.experiment.steps import Source
from methods.firp.projections import Layout, Projections, load, save
from tests import ROOT
from tests.models import tiny_model

INTEGER = "methods.firp: batch: Input should be a valid integer, found 'ten'"
TARGET = ROOT / "workflows/resources/mini-target"


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The command line's one line on stderr, its exit code checked."""
    assert main(list(arguments)) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line.removeprefix("error: ")


def freeze(capsys: pytest.CaptureFixture[str], folder: Path, model: dict, source: dict) -> str:
    split = {"dataset": "gsm8k", "source": source, "few_shot": None, "longest_prompt": 99}
    out = folder / "prompts.jsonl"
    splits = json.dumps([{"split": split, "out": str(out)}])
    line = run(capsys, "freeze", "--model", json.dumps(model), "--splits", splits)
    assert not out.exists(), "no half-written output"
    return line


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"nope": {}}, "method 'nope': expected one of autoregressive"),
        (
            {"firp": {"depht": 3}},
            "methods.firp: unknown setting 'depht'; expected adapters, batch, bias",
        ),
        (
            {"firp": {"batch": "ten"}},
            INTEGER,
        ),
        ({"firp": {"passes": ["three"]}}, "methods.firp.passes: 'three', expected combined"),
        ({"firp": {"entry_layers": [3, 1]}}, "firp entry_layers: [3, 1], expected one ascending"),
        ({"firp": {"feed": "pseudo"}}, "firp feed: 'pseudo', expected real or previous"),
        ({"hf_generate": {"cache": "paged"}}, "methods.hf_generate.cache: 'paged', expected"),
        ({"medusa_llm": {"widths": [2**31, 2]}}, f"medusa widths: [{2**31}, 2] make {3 * 2**31}"),
    ],
)
def test_method_settings(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, settings: dict, expected: str
) -> None:
    line = run(
        capsys, "check", "--methods", json.dumps(settings), "--out", str(tmp_path / "checked.json")
    )
    assert line.startswith(expected)
    assert not (tmp_path / "checked.json").exists()


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("missing.jsonl", None, "missing.jsonl: no such file"),
        ("notes.txt", "hello", "notes.txt: expected a .jsonl, .json or .parquet file"),
        ("cut.jsonl", '{"question": "a", "answer": "b"}\n{"question": "c", "ans', "cut.jsonl: not"),
        ("bad.parquet", "PAR1 no", "bad.parquet: not readable as parquet"),
        ("wrong.jsonl", '{"prompt": "a"}\n', "wrong.jsonl: no column 'question', found ['prompt']"),
        ("empty.jsonl", '{"question": "", "answer": "b"}\n', "empty.jsonl: record 1 does not fit"),
    ],
)
def test_question_files(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    name: str,
    content: str | None,
    expected: str,
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    line = freeze(capsys, tmp_path, {"path": str(TARGET)}, {"path": str(tmp_path / name)})
    assert line.removeprefix(f"{tmp_path}/").startswith(expected)


def test_a_hub_that_cannot_be_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path))  # nobody's own copy
    with pytest.raises(HarnessError, match="data source 'openai/gsm8k': no split"):
        Source(hub="openai/gsm8k", name="main", revision="main")
    source = Source(hub="openai/gsm8k", name="main", revision="main", split="test")
    with pytest.raises(HarnessError, match=r"hub data set 'openai/gsm8k' .* could not be loaded"):
        load_questions("gsm8k", source)


def question_file(folder: Path, words: int = 5) -> dict:
    record = {"question": "how many " * words, "answer": "#### 1"}
    (folder / "questions.jsonl").write_text(json.dumps(record) + "\n")
    return {"path": str(folder / "questions.jsonl")}


def test_a_prompt_longer_than_the_limit(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    line = freeze(capsys, tmp_path, {"path": str(TARGET)}, question_file(tmp_path, words=200))
    assert line.endswith("no prompt is left, 1 dropped as too long")


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ({"path": "/no/such"}, "model folder '/no/such': no such folder"),
        ({"path": "x", "hub": "y"}, "model ModelSpec"),
        ({"path": str(TARGET), "dtype": "int3"}, "dtype: 'int3', expected float32"),
        ({"path": str(TARGET), "chat": "morse"}, "chat: 'morse', expected tokenizer, plain"),
        ({"path": str(TARGET), "chat": "fschat:nope"}, "chat: no FastChat conversation 'nope'"),
        ({"path": str(TARGET), "size": 3}, "model: "),
    ],
)
def test_models(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, model: dict, expected: str
) -> None:
    assert freeze(capsys, tmp_path, model, question_file(tmp_path)).startswith(expected)


def test_a_gpu_that_is_not_there(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    arguments = ["--prompts", "x", "--caps", "{}", "--out", str(tmp_path / "answers.jsonl")]
    (tmp_path / "x").write_text("")
    model = json.dumps({"path": str(TARGET), "device": "cuda"})
    arguments[1] = str(tmp_path / "x")
    line = run(capsys, "answer", "--model", model, *arguments)
    assert line == "device: 'cuda' asked for, but no CUDA device was found"


def test_truncated_weights(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    folder = tmp_path / "target"
    shutil.copytree(TARGET, folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    (tmp_path / "x").write_text("")
    line = run(
        capsys,
        *("answer", "--model", json.dumps({"path": str(folder)}), "--caps", "{}"),
        *("--prompts", str(tmp_path / "x"), "--out", str(tmp_path / "answers.jsonl")),
    )
    assert line.startswith(f"model '{folder}': ")


def test_an_unsupported_architecture_is_refused_by_name() -> None:
    model = GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=11))
    with pytest.raises(HarnessError, match=r"model type 'gpt2': no model\.layers"):
        Target(model)


def test_a_model_with_an_unknown_twist_is_refused() -> None:
    """Control of the check itself: the layers run, but the logits are not the model's."""
    model = tiny_model("llama")
    hook = model.lm_head.register_forward_pre_hook(
        lambda module, args: (3 * args[0],) if args[0].ndim == 3 else None
    )
    with pytest.raises(HarnessError, match="driving its layers gives logits that are off by"):
        Target(model)
    hook.remove()
    Target(model)


def firp_folder(folder: Path) -> Path:
    save(Projections(Layout((2, 2)), 32), folder, {"target_hash": "abc"})
    return folder


def test_projections_of_another_target(tmp_path: Path) -> None:
    folder = firp_folder(tmp_path)
    assert load(folder, 32, "abc").layout == Layout((2, 2))
    with pytest.raises(HarnessError, match="FIRP target_hash is abc, expected def"):
        load(folder, 32, "def")
    with pytest.raises(HarnessError, match="FIRP hidden_size is 32, expected 64"):
        load(folder, 64, "abc")


def test_projections_that_were_changed_or_miscounted(tmp_path: Path) -> None:
    folder = firp_folder(tmp_path)
    weights = folder / "projections.safetensors"
    save_file({"maps.0.weight": torch.eye(32)}, weights)
    with pytest.raises(HarnessError, match="FIRP sha256 is"):
        load(folder, 32)
    config = json.loads((folder / "config.json").read_text())
    config["sha256"] = __import__("hashlib").sha256(weights.read_bytes()).hexdigest()
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(HarnessError, match=r"tensors .* expected"):
        load(folder, 32)


def test_good_input_ends_in_a_line_for_machines(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "checked.json"
    assert main(["check", "--methods", '{"lookahead": {}}', "--out", str(out)]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (told["command"], told["wrote"]) == ("check", str(out))
    assert told["seconds"] >= 0


def test_a_training_without_answers_to_learn_from(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    given = ["--method", "firp", "--settings", "{}", "--model", json.dumps({"path": str(TARGET)})]
    files = ["--tune-answers", str(tmp_path / "tune.jsonl"), "--folder", str(tmp_path / "firp")]
    line = run(capsys, "train", *given, *files)
    assert line == "train: no --train-answers, expected answers to learn from"
    line = run(capsys, "tune", *given, *files)
    assert "--train-answers" not in line, "control: a tuning may have none"
    assert not (tmp_path / "firp").exists()
