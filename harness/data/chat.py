"""Turn messages into prompt token ids, by the template that belongs to the model."""

from typing import Any

from harness.errors import HarnessError, first_line

Message = dict[str, str]


def prompt_ids(tokenizer: Any, chat: str, messages: list[Message]) -> list[int]:
    """Token ids of a conversation that ends with a user turn, ready for the assistant's answer.

    ``chat``: ``tokenizer`` (the tokenizer's own chat template), ``plain`` (the turns' text, one per
    line), or ``fschat:<name>`` (a FastChat conversation, for Vicuna and LLaMA-2). A conversation is
    used as the installed FastChat defines it: ``llama-2`` has no system message, as in FastChat's
    own MT-bench script; EAGLE's scripts set Meta's long one and end in a further space.
    """
    if chat == "plain":
        return _open(tokenizer, "\n".join(message["content"] for message in messages) + "\n")
    if chat == "tokenizer":
        if not getattr(tokenizer, "chat_template", None):
            raise HarnessError("chat: 'tokenizer', but the tokenizer has no chat template")
        text = _by_template(tokenizer, messages)
        # The template writes its own special tokens; a second BOS would change the prompt.
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])
    if chat.startswith("fschat:"):
        text = _fschat(chat.removeprefix("fschat:"), messages)
        ids = _open(tokenizer, text)
        bos = getattr(tokenizer, "bos_token_id", None)
        return ids[1:] if bos is not None and ids[:2] == [bos, bos] else ids
    raise HarnessError(f"chat: '{chat}', expected tokenizer, plain or fschat:<template>")


def _open(tokenizer: Any, text: str) -> list[int]:
    """Ids of a text that an answer follows, without the end token that some tokenizers add."""
    ids = list(tokenizer(text)["input_ids"])
    end = getattr(tokenizer, "eos_token_id", None)
    return ids[:-1] if end is not None and ids[-1:] == [end] else ids


def _by_template(tokenizer: Any, messages: list[Message]) -> str:
    try:
        return str(
            tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        )
    except Exception as error:  # templates are programs, and fail in their own ways
        raise HarnessError(
            f"chat: 'tokenizer', but its chat template fails: {type(error).__name__}: "
            f"{first_line(error)}"
        ) from None


def _fschat(name: str, messages: list[Message]) -> str:
    from fastchat.conversation import conv_templates  # slow to import, and rarely needed

    if name not in conv_templates:
        raise HarnessError(f"chat: no FastChat conversation '{name}'; expected e.g. vicuna_v1.1")
    conversation = conv_templates[name].copy()
    for message in messages:
        conversation.append_message(
            conversation.roles[0 if message["role"] == "user" else 1], message["content"]
        )
    conversation.append_message(conversation.roles[1], None)
    return str(conversation.get_prompt())
