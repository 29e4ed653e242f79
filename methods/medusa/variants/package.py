"""The upstream package ``medusa-llm`` itself, on the same weights and heads, for comparison.

What is timed is the package's own ``medusa_generate``. The adapter gives it a pass-through
tokenizer, so that no text is decoded inside the timing, and reads what each step committed from
the frame of the paused generator. The package has an old LLaMA of its own, so only LLaMA targets
without grouped key heads can run.
"""

import copy
from pathlib import Path
from typing import Any

import torch
from medusa.model.medusa_model import MedusaModel, ResBlock
from medusa.model.modeling_llama_kv import LlamaForCausalLM
from torch import Tensor, nn
from transformers import GenerationMixin, LlamaConfig

from harness.decoder import Decoder, Emit, EmittingDecoder, Request, StepRecord
from harness.engine.target import Target
from harness.errors import HarnessError
from harness.method import Method
from methods.medusa.heads import Heads, load_heads
from methods.medusa.templates import CartesianSettings, cartesian


class _PassThrough:
    """A tokenizer that returns ids unchanged and ends no answer: stopping is up to the request."""

    eos_token_id = -1

    def decode(self, ids: Tensor, **_: Any) -> Tensor:
        return ids


class _OldConfig(LlamaConfig):
    """A config with an attribute that the package's code reads by its older name."""

    use_return_dict = True


class _OldLlama(LlamaForCausalLM, GenerationMixin):
    """The package's LLaMA with ``generate``, which transformers' models no longer inherit."""


class _Peer(MedusaModel):
    """The package's model around existing weights; its own constructor needs a hub name."""

    def __init__(self, base: Any, heads: Heads, count: int) -> None:
        nn.Module.__init__(self)
        self.base_model, self.config = base, base.config
        self.vocab_size, self.hidden_size = base.lm_head.weight.shape
        self.medusa, self.medusa_num_layers = count, heads.layers
        self.tokenizer = _PassThrough()
        self.medusa_head = nn.ModuleList(
            nn.Sequential(
                *(ResBlock(self.hidden_size) for _ in range(heads.layers)),
                nn.Linear(self.hidden_size, self.vocab_size, bias=False),
            )
            for _ in range(count)
        )
        names = self.medusa_head.state_dict()
        self.medusa_head.load_state_dict({name: heads.state_dict()[name] for name in names})
        self.medusa_head.to(base.dtype).to(base.device).requires_grad_(False)


def _require_llama(config: Any) -> None:
    """Refuse a target that the package's code cannot run, by its config."""
    kind, heads = config.model_type, config.num_attention_heads
    keys = getattr(config, "num_key_value_heads", heads)
    if kind != "llama" or keys != heads:
        raise HarnessError(
            f"medusa_llm: model type '{kind}' with {keys} key heads of {heads}; the package runs "
            "llama with as many key heads as heads"
        )
    rope = config.rope_parameters
    if rope.get("rope_type", "default") != "default" or rope["rope_theta"] != 10_000:
        raise HarnessError(f"medusa_llm: rope {rope}; the package runs the default at theta 10000")


def _old_llama(target: Target) -> Any:
    """The package's LLaMA over the target's own tensors."""
    if target.weights != "full":
        raise HarnessError(f"medusa_llm: weights '{target.weights}'; the package runs full ones")
    if len(target.devices) > 1:
        raise HarnessError(
            f"medusa_llm: a target on {len(target.devices)} devices; the package runs it on one"
        )
    config = copy.deepcopy(target.config)
    _require_llama(config)
    # Attributes that its code reads, and that transformers v5 lacks or has in another form.
    config.rope_parameters = None  # its code reads this as rope_scaling
    config.__class__ = _OldConfig
    config.pretraining_tp = 1
    config.tie_word_embeddings = False  # the state dict holds both names of a tied matrix
    config._attn_implementation = "eager"
    model = _OldLlama(config)
    missing, unknown = model.load_state_dict(target.model.state_dict(), assign=True, strict=False)
    if unknown or any("rotary" not in name for name in missing):
        raise HarnessError(f"medusa_llm: weights missing {missing} and unknown {unknown}")
    return model.to(target.device).eval()


class MedusaLlm(EmittingDecoder):
    """``medusa_generate`` at temperature 0, with as many heads as ``widths``."""

    def __init__(self, target: Target, heads: Heads, widths: tuple[int, ...]) -> None:
        if len(widths) > heads.count:
            raise HarnessError(
                f"medusa_llm: {len(widths)} widths, expected at most {heads.count} (heads trained)"
            )
        if heads.shared is not None:
            raise HarnessError("medusa_llm: heads of 'head: shared'; the package runs 'own' ones")
        self._device = target.device
        self._context = int(target.config.max_position_embeddings)
        self._choices = [1, *widths]
        self._drafts = self.beyond = cartesian(widths).drafts
        self._model = _Peer(_old_llama(target), heads, len(widths))
        self._emit_prefill: Emit | None = None
        self._model.register_forward_hook(self._after_forward)

    def extra_bytes(self) -> int:
        """The heads, and the package's cache over the model's whole context."""
        heads = sum(p.nbytes for p in self._model.medusa_head.parameters())
        cache = getattr(self._model, "past_key_values_data", None)
        return heads + (0 if cache is None else cache.nbytes)

    def decode(self, request: Request, emit: Emit) -> None:
        """Each step commits the accepted drafts and the token that the next step starts from.

        The package verifies once before it checks for an end, so an answer of one token costs it a
        step that no other arm pays.
        """
        if request.sampling.temperature > 0:
            raise HarnessError("medusa_llm is a greedy arm; expected temperature 0")
        prompt = len(request.prompt_ids)
        slots = prompt + request.max_new_tokens + self._drafts
        if slots > self._context:
            raise HarnessError(
                f"medusa_llm: prompt, answer and drafts take {slots} slots, expected at most "
                f"{self._context}, the model's context"
            )
        ids = torch.tensor([request.prompt_ids], device=self._device)
        self._emit_prefill = emit
        steps = self._model.medusa_generate(
            ids, temperature=0.0, max_steps=request.max_new_tokens, medusa_choices=self._choices
        )
        emitted = 1
        for _ in steps:
            state = steps.gi_frame.f_locals
            committed = state["input_ids"][0, prompt:].tolist()
            committed.append(int(state["logits"][0, -1].argmax()))
            if request.cut(0, committed[:1])[1]:
                break
            tokens, finished = request.cut(emitted, committed[emitted:])
            accepted = int(state["accept_length"])
            row = state["medusa_buffers"]["retrieve_indices"][state["best_candidate"]]
            path = row[1 : accepted + 1].tolist()[: len(tokens) - 1]
            emit(StepRecord(tuple(tokens), self._drafts, self._drafts + 1, tuple(path)))
            emitted += len(tokens)
            if finished:
                break
        steps.close()

    def _after_forward(self, module: nn.Module, inputs: Any, output: Any) -> None:
        """Emit the first token after the first forward of a request, which is its prefill."""
        if self._emit_prefill is not None:
            self._emit_prefill(StepRecord((int(output[2][0, -1].argmax()),)))
            self._emit_prefill = None


def build(target: Target, settings: CartesianSettings, folder: Path) -> Decoder:
    """Decode with the package's model and the heads that ``medusa`` trained."""
    return MedusaLlm(target, load_heads(target, folder), settings.widths)


def fits(_: CartesianSettings, config: Any) -> None:
    """Refuse a target that the package's code cannot run."""
    _require_llama(config)


METHOD = Method(build, CartesianSettings, fits=fits, reference=True)
