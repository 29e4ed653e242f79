"""Input of any shape is parsed or refused in one line; FUZZ_CASES=400 searches for more."""

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis.rows import load_rows
from harness.commands.options import parse_arms, parse_spec
from harness.data.answers import read_answers
from harness.data.prompts import hash_ids, read_prompts
from harness.data.questions import load_questions
from harness.engine.target import Target
from harness.enginebench.predicted import predict, read_measured, read_profile
from harness.experiment.steps import Source
from harness.method import parse_settings
from harness.models import ModelSpec, load_target, load_tokenizer
from harness.published.files import read_answer_file
from methods import METHODS, load_method
from methods.firp import projections
from methods.medusa import heads
from methods.shared.choices import read_setting, read_values
from tests import ROOT
from tests.fuzzing import damaged, lines, mutated, parsed_or_refused, quickly
from tests.models import tiny_model

SMOKE = yaml.safe_load((ROOT / "workflows/config/smoke.yaml").read_text())
PROMPT = {
    "prompt_id": "xsum-1-1",
    "question_id": "1",
    "dataset": "xsum",
    "category": "summary",
    "turn": 1,
    "text": "a",
    "input_ids": [1, 2],
    "sha256": hash_ids([1, 2]),
    "reference": "b",
}
ANSWER = {"prompt_id": "p", "prompt_ids": [1, 2], "answer_ids": [3, 4]}
SETTING = {"policy": "static", "drafts": 2, "depth": 1, "paths": [[0], [1]], "passes": "combined"}
QUESTIONS = {
    "mtbench": {"question_id": 1, "category": "math", "turns": ["a", "b"], "reference": ["c"]},
    "gsm8k": {"question": "how many", "answer": "2 #### 2"},
    "xsum": {"document": "long", "summary": "short", "id": "7"},
}
ROW = {
    "model": "m",
    "dataset": "xsum",
    "session": 1,
    "prompt_id": "p",
    "question_id": "q",
    "arm": "autoregressive",
    "ids_sha256": "x",
    "output_ids": [1, 2, 3],
    "text": "t",
    "step_tokens": [1, 1, 1],
    "step_draft_size": [0, 0, 0],
    "step_rows": [1, 1, 1],
    "step_path": [[], [], []],
    "prefill_seconds": 0.1,
    "decode_seconds": 0.2,
    "fingerprint": "f",
    "stop_reason": "cap",
    "order": 0,
    "divergence": None,
    "device_state": {
        "load1": 0.5,
        "cores_seconds": 2.0,
        "others_seconds": 0.0,
        "stolen_seconds": 0,
    },
}
PUBLISHED = {
    "question_id": 81,
    "choices": [{"index": 0, "turns": ["a"], "idxs": [3], "new_tokens": [9], "wall_time": [0.5]}],
}


def _with_file(data: bytes, name: str, read: Any) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(data)
        return parsed_or_refused(lambda: read(path))


def _chosen(path: Path) -> None:
    """The last line as a setting."""
    (path.parent / "setting.json").write_bytes((path.read_bytes().splitlines() or [b""])[-1])
    read_setting(path.parent, ("passes",))[0].build()
    read_values(path.parent, ("drafts",))


def documents(document: Any) -> st.SearchStrategy[bytes]:
    """JSON lines: two of the document, one of them changed; or its bytes damaged."""
    changed = mutated(document).map(lambda one: lines([document, one]))
    return changed | damaged(lines([document, document]))


def test_the_documents_that_are_broken_below_are_whole() -> None:
    assert _with_file(lines([PROMPT]), "p.jsonl", read_prompts)
    assert _with_file(lines([ANSWER]), "a.jsonl", read_answers)
    assert _with_file(lines([SETTING]), "s.jsonl", _chosen)
    assert not _with_file(lines([PROMPT, PROMPT]), "p.jsonl", read_prompts), "twice the same"
    orphan = SETTING | {"paths": [[0, 0], [1]]}
    assert not _with_file(lines([orphan]), "s.jsonl", _chosen), "a path without its parent"
    assert _with_file(lines([ROW]), "r.jsonl", lambda path: load_rows([path]))
    assert _with_file(lines([PUBLISHED]), "a.jsonl", lambda path: read_answer_file("run", path))
    for dataset, record in QUESTIONS.items():
        assert _with_file(lines([record]), "q.jsonl", _questions(dataset))


def _questions(dataset: str) -> Any:
    return lambda path: load_questions(dataset, Source(path=str(path)))


@quickly
@given(st.sampled_from(sorted(QUESTIONS)), st.data())
def test_question_files(dataset: str, data: st.DataObject) -> None:
    _with_file(data.draw(documents(QUESTIONS[dataset])), "q.jsonl", _questions(dataset))


@quickly
@given(mutated(PROMPT).map(lambda one: lines([PROMPT | {"prompt_id": "xsum-0-1"}, one])))
def test_prompt_files(data: bytes) -> None:
    _with_file(data, "p.jsonl", read_prompts)


@quickly
@given(damaged(lines([PROMPT])))
def test_damaged_prompt_files(data: bytes) -> None:
    _with_file(data, "p.jsonl", read_prompts)


@quickly
@given(documents(ANSWER))
def test_answers_of_the_target(data: bytes) -> None:
    _with_file(data, "a.jsonl", read_answers)


@quickly
@given(documents(ROW))
def test_row_files(data: bytes) -> None:
    _with_file(data, "r.jsonl", lambda path: load_rows([path]))


@quickly
@given(documents(PUBLISHED))
def test_published_answer_files(data: bytes) -> None:
    _with_file(data, "a.jsonl", lambda path: read_answer_file("run", path))


@quickly
@given(mutated(SMOKE["methods"]))
def test_methods_of_a_config(methods: Any) -> None:
    """As the workflow passes them on the command line."""
    if not isinstance(methods, dict):
        return  # the schema refuses it

    def check() -> None:
        for name, arm in parse_arms(json.dumps(methods)).items():
            parse_settings(name, arm.method, arm.settings)

    parsed_or_refused(check)


@quickly
@given(st.sampled_from(sorted(METHODS)), st.data())
def test_settings_of_every_method(name: str, data: st.DataObject) -> None:
    method = load_method(name)
    default = json.loads(json.dumps(_plain(method.settings())))
    given_ = data.draw(mutated(default))
    parsed_or_refused(lambda: parse_settings(name, method, given_))


def _plain(settings_: Any) -> dict[str, Any]:
    return {name: getattr(settings_, name) for name in settings_.__dataclass_fields__}


@quickly
@given(mutated({"path": "x", "chat": "tokenizer", "dtype": "float32", "device": "cpu"}))
def test_a_model_argument(spec: Any) -> None:
    parsed_or_refused(lambda: parse_spec(json.dumps(spec)))


MEASURED = {
    "name": "toy",
    "dtype": "float32",
    "layers": 4,
    "hidden_size": 8,
    "vocabulary": 50,
    "bytes": {"weights": 1000},
    "machine": {"device": "cpu"},
    "forwards": [{"rows": rows, "context": 9, "seconds": [0.1, 0.2]} for rows in (1, 4)],
}
ACCEPTED = {
    "acceptance": [
        {
            "method": "firp",
            "model": "m",
            "data": "d",
            "tokens_per_step": 2.5,
            "rows": 4,
            "source": "s",
            "pseudo_from": [0.5, 0.5],
            "passes": "combined",
        }
    ]
}


@quickly
@given(mutated(MEASURED), mutated(ACCEPTED))
def test_costs_and_acceptance_of_predictions(measured: Any, accepted: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        costs, profile = Path(folder) / "engine.json", Path(folder) / "acceptance.yaml"
        for given_measured, given_accepted in ((measured, ACCEPTED), (MEASURED, accepted)):
            costs.write_text(json.dumps(given_measured))
            profile.write_text(json.dumps(given_accepted))
            parsed_or_refused(lambda: predict(read_measured(costs), read_profile(profile)))


def test_the_costs_and_acceptance_that_are_broken_above_are_whole(tmp_path: Path) -> None:
    costs, profile = tmp_path / "engine.json", tmp_path / "acceptance.yaml"
    costs.write_text(json.dumps(MEASURED))
    profile.write_text(json.dumps(ACCEPTED))
    assert len(predict(read_measured(costs), read_profile(profile))) == 1


@quickly
@given(documents(SETTING))
def test_a_chosen_setting(data: bytes) -> None:
    _with_file(data, "s.jsonl", _chosen)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """FIRP's projections and Medusa's heads of a tiny target, as training writes them."""
    root = tmp_path_factory.mktemp("trained")
    model = tiny_model("llama")
    maps = projections.Projections(projections.Layout((1, 2)), model.config.hidden_size)
    projections.save(maps, root / "firp", {"target_hash": "t"})
    weight = model.lm_head.weight.detach()
    heads.save(heads.Heads(2, 1, weight), root / "medusa", "tiny", {})
    return root


@quickly
@given(data=st.data())
def test_trained_parts(trained: Path, data: st.DataObject) -> None:
    """A config changed, or weights damaged, of either method."""
    method = data.draw(st.sampled_from(["firp", "medusa"]))
    with tempfile.TemporaryDirectory() as folder:
        for file in (trained / method).iterdir():
            (Path(folder) / file.name).write_bytes(file.read_bytes())
        weights = next(Path(folder).glob("*.safetensors"))
        config = json.loads((Path(folder) / "config.json").read_text())
        if data.draw(st.booleans()):
            weights.write_bytes(data.draw(damaged(weights.read_bytes())))
            if data.draw(st.booleans()):
                config.pop("sha256")  # published heads have none
        else:
            config = data.draw(mutated(config))
        (Path(folder) / "config.json").write_text(json.dumps(config))
        parsed_or_refused(lambda: _load(method, Path(folder)))


def _load(method: str, folder: Path) -> None:
    weight = tiny_model("llama").lm_head.weight.detach()
    if method == "firp":
        projections.load(folder, weight.shape[1], "t")
    else:
        heads.load(folder, weight, "t")


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tiny_model("llama").save_pretrained(folder)
    return folder


@quickly
@given(data=st.data())
def test_model_folders(model_folder: Path, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for file in model_folder.iterdir():
            (Path(folder) / file.name).write_bytes(file.read_bytes())
        weights = Path(folder) / "model.safetensors"
        if data.draw(st.booleans()):
            weights.write_bytes(data.draw(damaged(weights.read_bytes())))
        else:
            config = json.loads((Path(folder) / "config.json").read_text())
            changed = data.draw(mutated(config))
            (Path(folder) / "config.json").write_text(json.dumps(changed))
        parsed_or_refused(lambda: _decode(Path(folder)))


def _decode(folder: Path) -> None:
    target: Target = load_target(ModelSpec(path=str(folder)))
    assert torch.isfinite(target.logits(target.embed([1, 2])[0])).any()
    load_tokenizer(ModelSpec(path=str(folder)))
