"""Architectures that the engine has not met: they run, or are refused in one line of ours."""

from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from harness.decoder import Request, collect
from harness.engine.drafter import Drafter
from harness.engine.loop import EngineDecoder
from harness.engine.target import Target
from harness.errors import HarnessError
from methods.self_speculative.drafter import ExitRule, SkipDrafter
from tests.models import VOCAB

SIZE: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 128,
    "eos_token_id": None,
    "bos_token_id": None,
    "pad_token_id": None,
}
MIXTURE = {"num_local_experts": 4, "num_experts_per_tok": 2}
LATENT = {
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "n_routed_experts": 4,
    "moe_intermediate_size": 16,
    "n_group": 1,
    "topk_group": 1,
    "num_key_value_heads": 4,
}
PARALLEL = {"use_parallel_residual": True}
OPTIONS = {"gpt_oss": MIXTURE, "deepseek_v3": LATENT, "stablelm": PARALLEL}
RUN = ["olmo2", "olmo", "gpt_oss", "stablelm", "phi3", "granite", "smollm3"]
REFUSED = {
    "gemma3_text": "driving its layers fails (Gemma3RotaryEmbedding.forward() missing",
    "olmo3": "driving its layers fails (Olmo3RotaryEmbedding.forward() missing",
    "ministral3": "driving its layers fails (unsupported operand",
    "deepseek_v3": "driving its layers fails (The size of tensor",
    "doge": "driving its layers gives logits that are off by",
    "nanochat": "driving its layers gives logits that are off by",
    "phi": "no model.norm; expected a decoder-only model",
}
PROMPT = [(11 * i + 3) % VOCAB for i in range(20)]


def model(kind: str) -> Any:
    options = OPTIONS.get(kind, {})
    torch.manual_seed(0)
    attention = "eager" if kind == "gpt_oss" else "sdpa"
    config = AutoConfig.for_model(kind, **{**SIZE, **options})
    return AutoModelForCausalLM.from_config(config, attn_implementation=attention).eval()


@pytest.mark.parametrize("kind", RUN)
def test_an_architecture_beside_the_family_runs_its_own_layers(kind: str) -> None:
    made = model(kind)
    target = Target(made)
    assert target.why_stock is not None
    own = made.generate(
        torch.tensor([PROMPT]),
        attention_mask=torch.ones(1, len(PROMPT), dtype=torch.long),
        max_new_tokens=20,
        do_sample=False,
    )
    request = Request(tuple(PROMPT), 20, frozenset())
    assert collect(EngineDecoder(target, Drafter()), request)[0] == own[0, len(PROMPT) :].tolist()


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_driven_is_refused_in_one_line(kind: str) -> None:
    made = model(kind)
    with pytest.raises(HarnessError) as error:
        Target(made)
    assert str(error.value).startswith(f"model type '{kind}': {REFUSED[kind]}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", ["gpt_oss", "stablelm", "olmo2"])
def test_sublayers_that_are_no_such_parts_are_not_skipped(kind: str) -> None:
    target = Target(model(kind))
    with pytest.raises(HarnessError, match=f"'{kind}': its layers are not an attention and an MLP"):
        SkipDrafter(target, frozenset({(0, "mlp")}), ExitRule())
