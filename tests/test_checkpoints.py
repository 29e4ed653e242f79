"""Model folders in the forms that hubs ship, whole and broken."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from harness.data.answers import BATCH, fitting
from harness.data.chat import prompt_ids
from harness.data.prompts import Prompt, hash_ids, write_prompts
from harness.datasets.xsum import rouge2
from harness.errors import HarnessError
from harness.experiment.arms import parse_arm
from harness.files import write_json
from harness.measure.setup import SessionFiles, measure_session
from harness.models import ModelSpec, load_target, load_tokenizer, stop_ids
from tests.models import VOCAB, save_as_bin, save_tokenizer, tiny_model

WEIGHT = "model.layers.1.mlp.up_proj.weight"
PADDING = 32
TEMPLATE = "{% for m in messages %}{{ '<s> ' if loop.first }}w3 {{ m.content }} </s> {% endfor %}w4"


def save(folder: Path, form: str, dtype: torch.dtype) -> dict[str, Path]:
    """The tiny model in one of the forms; returns the shard of each weight."""
    model = tiny_model("llama")
    if form == "bin":
        return save_as_bin(model, folder, dtype)
    model.save_pretrained(
        folder,
        state_dict={name: value.to(dtype) for name, value in model.state_dict().items()},
        max_shard_size="20KB",
    )
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    assert len(set(index["weight_map"].values())) > 2
    return {name: folder / file for name, file in index["weight_map"].items()}


def change(shard: Path, name: str, value: torch.Tensor | None) -> None:
    """Put another weight into a shard, or take one out."""
    state = torch.load(shard) if shard.suffix == ".bin" else load_file(shard)
    state = {**{key: held.clone() for key, held in state.items()}, name: value}
    if value is None:
        del state[name]
    shard.unlink()  # what was read may still be mapped
    if shard.suffix == ".bin":
        torch.save(state, shard)
    else:
        save_file(state, shard, metadata={"format": "pt"})


def refusal(folder: Path) -> str:
    with pytest.raises(HarnessError) as caught:
        load_target(ModelSpec(path=str(folder)))
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"model '{folder}': ")
    return line.removeprefix(f"model '{folder}': ")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("form", ["safetensors", "bin"])
def test_every_form_gives_the_weights_that_were_written(
    tmp_path: Path, form: str, dtype: torch.dtype
) -> None:
    save(tmp_path, form, dtype)
    loaded = load_target(ModelSpec(path=str(tmp_path))).model.state_dict()
    for name, value in tiny_model("llama").state_dict().items():
        assert torch.equal(loaded[name], value.to(dtype).float()), name


@pytest.mark.parametrize("form", ["safetensors", "bin"])
def test_a_checkpoint_without_a_weight_is_refused_by_its_name(tmp_path: Path, form: str) -> None:
    shards = save(tmp_path, form, torch.float32)
    change(shards[WEIGHT], WEIGHT, None)
    made_up = AutoModelForCausalLM.from_pretrained(tmp_path).state_dict()[WEIGHT]
    assert not torch.equal(made_up, tiny_model("llama").state_dict()[WEIGHT]), "control: no error"
    assert refusal(tmp_path) == f"no weight '{WEIGHT}' in its files; expected all"
    index = next(tmp_path.glob("*.index.json"))
    kept = json.loads(index.read_text())
    shards[WEIGHT].unlink()
    assert shards[WEIGHT].name in refusal(tmp_path), "a shard that the index names"
    gone = {name for name, file in shards.items() if file == shards[WEIGHT]}
    kept["weight_map"] = {n: f for n, f in kept["weight_map"].items() if n not in gone}
    index.write_text(json.dumps(kept))
    assert re.match(r"no weight '\S+' in its files", refusal(tmp_path)), "one that it does not"


def test_weights_of_another_shape_or_of_no_use_are_refused(tmp_path: Path) -> None:
    shards = save(tmp_path, "safetensors", torch.float32)
    change(shards[WEIGHT], "model.layers.9.mlp.up_proj.weight", torch.ones(48, 32))
    assert refusal(tmp_path).startswith("weight 'model.layers.9.mlp.up_proj.weight' in its files")
    change(shards[WEIGHT], WEIGHT, torch.ones(40, 32))
    assert refusal(tmp_path) == f"weight '{WEIGHT}' is [40, 32], expected [48, 32]"


class Touch:
    """Unpickled, it makes a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.file}",)


def test_code_in_a_bin_file_is_refused_and_not_run(tmp_path: Path) -> None:
    canary, folder = tmp_path / "canary", tmp_path / "model"
    shard = save(folder, "bin", torch.float16)[WEIGHT]
    torch.save({**torch.load(shard), "more": Touch(canary)}, shard)
    said = refusal(folder)
    assert re.match(r"a \.bin file holds \w+\.system, expected tensors alone", said)
    assert not canary.exists()
    torch.load(shard, weights_only=False)
    assert canary.exists(), "control: the file would have made one"


def test_every_stop_id_of_the_generation_config_ends_an_answer(tmp_path: Path) -> None:
    save(tmp_path, "safetensors", torch.float32)
    tokenizer = save_tokenizer(tmp_path)
    spec = ModelSpec(path=str(tmp_path))
    assert stop_ids(load_target(spec), tokenizer) == {tokenizer.eos_token_id}
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [7, 9]}))
    assert stop_ids(load_target(spec), tokenizer) == {7, 9, tokenizer.eos_token_id}


def test_sizes_that_a_config_leaves_to_transformers(tmp_path: Path) -> None:
    save(tmp_path, "safetensors", torch.float32)
    config = json.loads((tmp_path / "config.json").read_text())
    null = {"head_dim": None, "num_key_value_heads": None}
    (tmp_path / "config.json").write_text(json.dumps({**config, **null}))
    load_target(ModelSpec(path=str(tmp_path)))
    (tmp_path / "config.json").write_text(json.dumps({**config, "hidden_size": None}))
    with pytest.raises(HarnessError, match="hidden_size is None, expected a number"):
        load_target(ModelSpec(path=str(tmp_path)))


@pytest.mark.parametrize("place", ["chat_template.jinja", "tokenizer_config.json"])
def test_a_chat_template_is_found_where_hubs_have_it(tmp_path: Path, place: str) -> None:
    save(tmp_path, "safetensors", torch.float32)
    save_tokenizer(tmp_path, TEMPLATE)
    file = tmp_path / "chat_template.jinja"
    if place != file.name:
        config = json.loads((tmp_path / place).read_text())
        (tmp_path / place).write_text(json.dumps({**config, "chat_template": file.read_text()}))
        file.unlink()
    tokenizer = load_tokenizer(ModelSpec(path=str(tmp_path)))
    ids = prompt_ids(tokenizer, "tokenizer", [{"role": "user", "content": "w9"}])
    assert tokenizer.convert_ids_to_tokens(ids) == ["<s>", "w3", "w9", "</s>", "w4"]


def test_a_tokenizer_of_a_sentencepiece_model_alone(tmp_path: Path) -> None:
    """As Vicuna ships: no tokenizer.json, no template."""
    save(tmp_path, "bin", torch.float32)
    words = "USER ASSISTANT INST the fox jumps over dogs [/INST] [INST]: "
    lines = iter([words * 3 + str(i) for i in range(300)])
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=lines,
        model_prefix=str(tmp_path / "tokenizer"),
        vocab_size=200,
        model_type="bpe",
        hard_vocab_limit=False,
        minloglevel=2,
        **{"unk_id": 0, "bos_id": 1, "eos_id": 2, "pad_id": -1, "byte_fallback": False},
    )
    settings = {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "legacy": True}
    special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings | special))
    (tmp_path / "special_tokens_map.json").write_text(json.dumps(special))
    tokenizer = load_tokenizer(ModelSpec(path=str(tmp_path)))
    turns = [{"role": r, "content": "fox"} for r in ("user", "assistant", "user")]
    for chat, bos, eos in (("fschat:vicuna_v1.1", [1], 1), ("fschat:llama-2", [1, 1], 1)):
        ids = prompt_ids(tokenizer, chat, turns)
        assert [i for i in ids if i == 1] == bos, "one at the start, one a further turn of LLaMA-2"
        assert ids[0] == 1 != ids[1]
        assert ids.count(2) == eos, "the marks in the text are tokens of their own"
    # control: a text that starts with the mark, as some templates write it
    doubled = list(tokenizer("<s> fox")["input_ids"])
    assert doubled[:2] == [1, 1]


@pytest.fixture(scope="module")
def padded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("padded")
    tiny_model("llama", vocab=VOCAB + PADDING).save_pretrained(folder)
    save_tokenizer(folder)
    return folder


def test_ids_past_the_tokenizer_s_break_neither_text_nor_scores(padded: Path) -> None:
    tokenizer = load_tokenizer(ModelSpec(path=str(padded)))
    for skip in (True, False):
        known = tokenizer.decode([5, 6], skip_special_tokens=skip)
        assert tokenizer.decode([5, VOCAB, 6, VOCAB + 31], skip_special_tokens=skip) == known
        assert tokenizer.decode([VOCAB + 31], skip_special_tokens=skip) == ""
    assert rouge2("", "w1 w2 w3") == 0


def test_a_padded_vocabulary_leaves_answers_equal(padded: Path, tmp_path: Path) -> None:
    prompts = []
    for number in range(3):
        ids = tuple((7 * i + number) % VOCAB for i in range(12))
        place = (f"xsum-{number}-1", str(number), "xsum", "summary", 1, "")
        prompts.append(Prompt(*place, ids, hash_ids(ids), "w1 w2"))
    write_prompts(tmp_path / "prompts.jsonl", prompts, 0)
    setting = {"width": 3, "ngram": 3, "guesses": 3, "from_prompt": True}
    write_json(tmp_path / "lookahead" / "setting.json", setting)
    arms = ("autoregressive", "autoregressive_again", "lookahead", "hf_prompt_lookup")
    labels = {"experiment": "x", "model": "m", "dataset": "xsum", "session": 1}
    options = {"labels": labels, "seed": 1, "max_new_tokens": 24, "warmup": 1}
    out = tmp_path / "session-1.jsonl"
    files = SessionFiles(tmp_path / "prompts.jsonl", tmp_path / "prompts.jsonl", tmp_path, out)
    spec = ModelSpec(path=str(padded))
    measure_session(spec, {arm: parse_arm(arm, {}) for arm in arms}, files, options)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    answers = {(row["prompt_id"], tuple(row["output_ids"])) for row in rows}
    assert len(rows) == len(arms) * len(answers) == 12
    assert any(token >= VOCAB for _, ids in answers for token in ids), "control: some are past it"


def test_a_batch_of_answers_leaves_room_on_a_gpu() -> None:
    """LLaMA-2-13B: 819,200 bytes a token, 26 GB of weights on 80 GB."""
    each = 819_200 * 1912
    assert fitting(54 * 10**9, each) == 20
    assert fitting(10**12, each) == BATCH
    assert fitting(10**9, each) == 1
