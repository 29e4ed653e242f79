"""AdapT's temperatures: which tokens of a tokenizer end a line, and which are indents."""

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from harness.decoder import Sampling
from harness.errors import HarnessError
from harness.models import drawn_by

ADAPTED = Sampling(0.6, block_temperature=0.8)


def tokenizer(*words: str) -> PreTrainedTokenizerFast:
    own = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token=words[0]))
    own.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=own)


@pytest.mark.parametrize(
    "words",
    [
        # bytes as GPT-2 spells them: blank, newline, tab
        ("a", "\u010a", "\u0120\u0120", "\u0109", "\u0120a", ":\u010a"),
        # SentencePiece's, with bytes for what it lacks
        ("a", "<0x0A>", "\u2581\u2581", "<0x09>", "\u2581a", ":\n"),
    ],
)
def test_newlines_and_indents_are_found(words: tuple[str, ...]) -> None:
    found = drawn_by(ADAPTED, tokenizer(*words))
    assert (found.newlines, found.indents) == ({1, 5}, {2, 3})
    assert found.after((1, 2)) == 0.8
    assert found.after((5, 3)) == 0.8
    assert [found.after(pair) for pair in ((2, 1), (1, 4), (1, 1), (0, 2))] == [0.6] * 4
    assert found.of("ff" * 32).newlines == found.newlines


def test_an_indent_in_one_token_with_its_newline_begins_a_line_too() -> None:
    words = ("a", "\u010a", "\u010a\u0120\u0120", ":\u010a\u0109", "\u010a\u0120a", "\u0120\u010a")
    found = drawn_by(ADAPTED, tokenizer(*words))
    assert (found.newlines, found.line_starts) == ({1, 5}, {2, 3})
    assert [found.after((0, last)) for last in range(6)] == [0.6, 0.6, 0.8, 0.8, 0.6, 0.6]
    assert found.after((1, 0)) == 0.6, "control: no indent behind the newline"


def test_a_tokenizer_without_them_is_refused() -> None:
    with pytest.raises(HarnessError, match="has 0 tokens ending in a newline and 1 of blanks"):
        drawn_by(ADAPTED, tokenizer("a", "\u0120"))
    plain = Sampling(0.6)
    assert drawn_by(plain, tokenizer("a")) is plain, "nothing is asked of it"
