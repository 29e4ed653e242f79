"""Models from a hub, by the real client from a server on this machine."""

import json
import os
import subprocess
import sys
from pathlib import Path

import torch

from tests.hub import COMMIT, GATED, MODEL, serving
from tests.models import save_tokenizer, tiny_model

# Prints one line a model: what it says, or the commit and hash of what it loaded.
SCRIPT = """
import json, sys
from harness.errors import HarnessError
from harness.files import sha256_bytes
from harness.hub import pinned
from harness.models import ModelSpec, load_target, load_tokenizer
for spec in map(json.loads, sys.argv[1:]):
    spec = ModelSpec(**spec)
    try:
        tokenizer = load_tokenizer(spec)
        target = load_target(spec)
        same = target.weights_hash == sha256_bytes(f"{spec.hub}@{spec.pinned().revision}".encode())
        print("loaded", spec.pinned().revision, len(tokenizer), same, pinned(f"hub:{spec.hub}"))
    except HarnessError as error:
        print(error)
"""
LOGIN = "needs its terms accepted and your own login (`hf auth login`, or HF_TOKEN)"


def served(folder: Path) -> Path:
    """A tiny model with a .bin file, as the hub has it."""
    model = tiny_model("llama")
    save_tokenizer(folder)
    model.config.save_pretrained(folder)
    state = {name: value.half() for name, value in model.state_dict().items()}
    torch.save(state, folder / "pytorch_model.bin")
    return folder


def lines(endpoint: str, cache: Path, *specs: dict, **variables: str) -> list[str]:
    environment = {
        **{k: v for k, v in os.environ.items() if "proxy" not in k.lower()},
        **variables,
        **{"HF_ENDPOINT": endpoint, "HF_HOME": str(cache), "HF_HUB_OFFLINE": "0"},
        **{"HF_HUB_DOWNLOAD_TIMEOUT": "2", "HF_HUB_ETAG_TIMEOUT": "2"},
    }
    command = [sys.executable, "-c", SCRIPT, *map(json.dumps, specs)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()


def test_a_hub_s_models(tmp_path: Path) -> None:
    folder = served(tmp_path / "served")
    with serving(folder) as (endpoint, asked):
        found = lines(
            endpoint,
            tmp_path / "cache",
            {"hub": MODEL},
            {"hub": MODEL, "revision": COMMIT},
            {"hub": MODEL, "revision": "v9"},
            {"hub": GATED},
            {"hub": "org/nobody-s"},
            {"hub": "../etc/passwd"},
        )
    assert found[:2] == [f"loaded {COMMIT} 61 True hub:{MODEL}@{COMMIT}"] * 2
    assert found[2].startswith(f"hub model '{MODEL}' (revision v9): no such revision")
    assert found[3].startswith(f"hub model '{GATED}' (revision main): gated, and your login has no")
    assert found[4].startswith("hub model 'org/nobody-s' (revision main): no such model")
    assert found[5].startswith("hub model '../etc/passwd' (revision main): could not be loaded: HF")
    assert all(line.endswith(LOGIN) for line in found[2:])
    assert len(found) == 6
    assert any(path.endswith("pytorch_model.bin") for path in asked)
    assert not conversion(asked)


def conversion(asked: list[str]) -> list[str]:
    """What transformers asks the hub before it has a service convert a .bin file."""
    return [path for path in asked if any(w in path for w in ("POST", "discussions", "/commits/"))]


def test_nobody_is_asked_to_convert_a_bin_file(tmp_path: Path) -> None:
    folder = served(tmp_path / "served")
    seen = {}
    for disabled in ("1", "0"):
        with serving(folder) as (endpoint, asked):
            cache = tmp_path / f"cache-{disabled}"
            lines(endpoint, cache, {"hub": MODEL}, DISABLE_SAFETENSORS_CONVERSION=disabled)
        seen[disabled] = conversion(asked)
    assert not seen["1"]
    assert seen["0"], "control: transformers asks"


def test_a_hub_that_is_not_there(tmp_path: Path) -> None:
    (line,) = lines("http://127.0.0.1:9", tmp_path, {"hub": MODEL})
    assert line.startswith(f"hub model '{MODEL}' (revision main): could not be loaded: ")
    assert line.endswith(LOGIN)
