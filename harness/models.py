"""Loading a target and its tokenizer from a local folder or the hub."""

import re
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoTokenizer
from transformers.utils.logging import disable_progress_bar

from harness.decoder import Sampling
from harness.engine.layers import CHOICES
from harness.engine.stack import EXECUTIONS
from harness.engine.target import Target
from harness.engine.weights import WEIGHTS, loading, multiply_alike
from harness.errors import HarnessError, in_our_words
from harness.files import read_object, sha256_bytes, sha256_file
from harness.hub import commit_of
from harness.model_files import read_model, told

LINE_START = re.compile(r"\n[ \t]+\Z")
DEVICE_MAPS = ("auto", "balanced", "sequential")
_WHOLE_HASH_LIMIT = 2 << 30
# Largest sizes in a config: a mistyped one would be allocated before the weights contradict it.
_SIZES = {
    "num_hidden_layers": 1_000,
    "vocab_size": 10_000_000,
    "hidden_size": 1_000_000,
    "intermediate_size": 10_000_000,
    "num_attention_heads": 10_000,
    "num_key_value_heads": 10_000,
    "head_dim": 10_000,
}
_MAY_BE_NULL = ("num_key_value_heads", "head_dim")  # if null, transformers derives them
disable_progress_bar()


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """Where a model is, by exactly one of ``path`` and ``hub``, and how to load and run it.

    ``chat`` as in :mod:`harness.data.chat`. ``revision``: a branch, tag or commit on the hub; a
    commit after :meth:`pinned`. ``execution`` and ``layers`` as in
    :class:`harness.engine.target.Target`. ``weights``: ``full``, or ``int8`` or ``nf4`` for layers
    that bitsandbytes packs as they are read; ``dtype`` then holds for all else. ``device_map``: how
    accelerate spreads the layers over the devices of ``device``'s kind.
    """

    path: str | None = None
    hub: str | None = None
    revision: str | None = None
    chat: str = "tokenizer"
    dtype: str = "float32"
    device: str = "cpu"
    attention: str = "sdpa"
    execution: str = "eager"
    layers: str = "fused"
    weights: str = "full"
    device_map: str | None = None

    def __post_init__(self) -> None:
        if (self.path is None) == (self.hub is None):
            raise HarnessError(f"model {self}: expected exactly one of path and hub")
        if self.dtype not in ("float32", "bfloat16", "float16"):
            raise HarnessError(f"dtype: '{self.dtype}', expected float32, bfloat16 or float16")
        if self.attention not in ("sdpa", "eager"):  # other names may fetch code from the hub
            raise HarnessError(f"attention: '{self.attention}', expected sdpa or eager")
        if self.execution not in EXECUTIONS:
            raise HarnessError(f"execution: '{self.execution}', expected {' or '.join(EXECUTIONS)}")
        if self.layers not in CHOICES:
            raise HarnessError(f"layers: '{self.layers}', expected {' or '.join(CHOICES)}")
        if self.weights not in WEIGHTS:
            raise HarnessError(f"weights: '{self.weights}', expected {' or '.join(WEIGHTS)}")
        if self.execution in ("compiled", "graphs") and not self.device.startswith("cuda"):
            entry = f"execution: '{self.execution}' with device {self.device}"
            raise HarnessError(f"{entry}, expected cuda; on a CPU eager steps are the fastest")
        if self.device_map not in (None, *DEVICE_MAPS):
            expected = " or ".join(DEVICE_MAPS)
            raise HarnessError(f"device_map: '{self.device_map}', expected {expected}")
        if self.device_map is not None:
            self._check_map()

    def _check_map(self) -> None:
        entry = f"device_map: '{self.device_map}'"
        if not self.device.startswith("cuda"):
            raise HarnessError(f"{entry} with device {self.device}, expected cuda")
        if self.execution in ("compiled", "graphs"):  # which accelerate's hooks do not allow
            raise HarnessError(f"{entry} with execution {self.execution}, expected eager or static")

    @property
    def where(self) -> str:
        """Folder or hub id."""
        return self.path or str(self.hub)

    def pinned(self) -> "ModelSpec":
        """A copy with the revision's commit, so that rows identify the weights exactly."""
        return replace(self, revision=commit_of(self.hub, self.revision)) if self.hub else self


def drawn_by(sampling: Sampling, tokenizer: Any) -> Sampling:
    """``sampling``, with the ids of newlines (tokens that end in one), indents (tokens of blanks
    alone) and line starts (a newline and blanks at the end of a token) filled in from the
    vocabulary if the temperature depends on them.
    """
    if sampling.block_temperature is None:
        return sampling
    blanks = str.maketrans({"\u2581": " ", "\u0120": " ", "\u010a": "\n", "\u0109": "\t"})
    texts = {
        index: token.replace("<0x0A>", "\n").replace("<0x09>", "\t").translate(blanks)
        for token, index in tokenizer.get_vocab().items()
    }
    newlines = frozenset(index for index, text in texts.items() if text.endswith("\n"))
    indents = frozenset(index for index, text in texts.items() if text and not text.strip(" \t"))
    starts = frozenset(index for index, text in texts.items() if LINE_START.search(text))
    if not starts and not (newlines and indents):
        raise HarnessError(
            f"block_temperature: the tokenizer has {len(newlines)} tokens ending in a newline and "
            f"{len(indents)} of blanks alone, expected some of either, or some that are both"
        )
    return replace(sampling, newlines=newlines, indents=indents, line_starts=starts)


def load_tokenizer(spec: ModelSpec) -> Any:
    """The model's tokenizer, without running code from the repository."""
    _require_folder(spec)
    spec = spec.pinned()
    try:
        return AutoTokenizer.from_pretrained(
            spec.where, revision=spec.revision, trust_remote_code=False
        )
    except Exception as error:  # a tokenizer's files can be wrong in many ways
        raise HarnessError(f"tokenizer of '{spec.where}': {told(error)}") from None


def limits(spec: ModelSpec) -> tuple[int, int | None]:
    """Tokens in the model's embedding table, and those of its context if it has one."""
    config = text_config(spec)
    return int(config.vocab_size), getattr(config, "max_position_embeddings", None)


def text_config(spec: ModelSpec) -> Any:
    """transformers' config of the model, read without its weights."""
    _require_folder(spec)
    spec = spec.pinned()
    try:
        config = AutoConfig.from_pretrained(
            spec.where, revision=spec.revision, trust_remote_code=False
        )
    except Exception as error:  # a config may hold anything
        raise HarnessError(f"config of '{spec.where}': {told(error)}") from None
    return config.get_text_config()


def load_target(spec: ModelSpec) -> Target:
    """The model on its device in its dtype, ready to be driven by the engine."""
    spec = spec.pinned()
    model = load_model(spec)
    with _wrong_files(spec):
        return Target(model, weights_hash(spec), spec.execution, spec.layers)


def load_model(spec: ModelSpec) -> Any:
    """The model on its device in its dtype.

    Every weight comes from the files: a missing, unknown or differently shaped one is an error.
    """
    _require_folder(spec)
    use_device(spec.device)
    dtype = getattr(torch, spec.dtype)
    with _wrong_files(spec):
        model = read_model(
            spec.where,
            revision=spec.revision,
            dtype=dtype,
            attn_implementation=spec.attention,
            **loading(spec.weights, dtype),
            **_placement(spec),
        )
        _require_full_files(spec, model)
        if not _placement(spec):
            model = model.to(spec.device)
        require_placed(spec, model)
        if spec.device == "cpu":
            multiply_alike(model)
        return model.eval()


def _placement(spec: ModelSpec) -> dict[str, Any]:
    """The ``device_map`` to read weights with. Without one they are read to the CPU and moved
    afterwards, which packed weights do not allow.
    """
    if spec.device_map is not None:
        return {"device_map": spec.device_map}
    return {} if spec.weights == "full" else {"device_map": {"": spec.device}}


def require_placed(spec: ModelSpec, model: nn.Module) -> None:
    """Refuse weights left in the host's memory or on disk: every step would fetch them again."""
    kind = torch.device(spec.device).type
    for name, parameter in model.named_parameters():
        if parameter.device.type != kind:
            raise HarnessError(
                f"model '{spec.where}': {name} is on {parameter.device.type}, expected {kind}; do "
                "the devices hold all of it?"
            )


def _require_full_files(spec: ModelSpec, model: Any) -> None:
    """Refuse files of packed weights: their config decides how they are read, not ``weights``."""
    quantizer = getattr(model, "hf_quantizer", None)
    if quantizer is not None and quantizer.pre_quantized:
        raise HarnessError(
            f"model '{spec.where}': its files hold packed weights, expected full ones"
        )


def _wrong_files(spec: ModelSpec) -> AbstractContextManager[None]:
    """Turn any error in the block into one line, since configs and layers fail in many ways."""
    return in_our_words(lambda error: f"model '{spec.where}': {told(error)}")


def use_device(device: str) -> None:
    """Refuse a CUDA device that is not there, and make it the current one: streams and graphs are
    made on that.
    """
    if not device.startswith("cuda"):
        return
    if not torch.cuda.is_available():
        raise HarnessError(f"device: '{device}' asked for, but no CUDA device was found")
    index, found = torch.device(device).index, torch.cuda.device_count()
    if index is None:
        return
    if index >= found:
        raise HarnessError(f"device: '{device}' asked for, expected cuda:0 to cuda:{found - 1}")
    torch.cuda.set_device(index)


def stop_ids(target: Target, tokenizer: Any) -> frozenset[int]:
    """Every id that ends an answer: the tokenizer's, the config's and the generation config's."""
    ids: set[int] = set()
    generation = getattr(target.model, "generation_config", None)
    for value in (
        getattr(tokenizer, "eos_token_id", None),
        getattr(target.config, "eos_token_id", None),
        getattr(generation, "eos_token_id", None),
    ):
        ids |= set(value) if isinstance(value, list) else set() if value is None else {value}
    return frozenset(int(token) for token in ids)


def weights_hash(spec: ModelSpec) -> str:
    """A hash that identifies the weights: of the files' contents up to 2 GiB in all, else of their
    names, sizes and both ends.

    A hub model is identified by its id and commit. Packed weights have another hash than full ones,
    since parts that were trained for the one do not fit the other.
    """
    full = _full_hash(spec)
    return full if spec.weights == "full" else sha256_bytes(f"{full} {spec.weights}".encode())


def _full_hash(spec: ModelSpec) -> str:
    if spec.path is None:
        return sha256_bytes(f"{spec.hub}@{spec.revision}".encode())
    folder = Path(spec.path)
    files = sorted([*folder.glob("*.safetensors"), *folder.glob("*.bin")])
    whole = sum(file.stat().st_size for file in files) <= _WHOLE_HASH_LIMIT
    parts = [f"{file.name}:{sha256_file(file) if whole else _ends(file)}" for file in files]
    return sha256_bytes("\n".join(parts).encode())


def _ends(file: Path) -> str:
    """The file's size, and the hash of its first and last MiB."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        head = stream.read(1 << 20)
        stream.seek(max(0, size - (1 << 20)))
        return f"{size}:{sha256_bytes(head + stream.read())}"


def _require_folder(spec: ModelSpec) -> None:
    if spec.path is None:
        return
    if not Path(spec.path).is_dir():
        raise HarnessError(f"model folder '{spec.path}': no such folder")
    file = Path(spec.path) / "config.json"
    config = read_object(file)
    for name, limit in _SIZES.items():
        size = config.get(name, 1)
        if size is None and name in _MAY_BE_NULL:
            continue
        if isinstance(size, bool) or not isinstance(size, int) or not 0 < size <= limit:
            raise HarnessError(f"{file}: {name} is {size!r}, expected a number from 1 to {limit:,}")
