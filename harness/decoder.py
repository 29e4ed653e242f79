"""The one interface that every decoding method implements, this project's and others' alike.

A decoder turns a request into step records. It uses no clock, dataset or file: its caller reads
the clock when a record arrives.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are chosen: by argmax at temperature 0, else with Gumbel noise from ``seed``.

    ``top_p``: tokens are drawn from the likeliest ones that together hold at least this share of
    the probability. ``block_temperature`` replaces ``temperature`` where a line of a code block
    begins, that is, after one of the ``newlines`` and then one of the ``indents`` (token ids), or
    after one of the ``line_starts``, which are both in one token: AdapT sampling (Zhu et al., arXiv
    2309.02772) by the rule of its authors' code, whose tokenizer has no tokens of the last kind.
    """

    temperature: float = 0.0
    seed: int = 0
    top_p: float = 1.0
    block_temperature: float | None = None
    newlines: frozenset[int] = frozenset()
    indents: frozenset[int] = frozenset()
    line_starts: frozenset[int] = frozenset()

    def of(self, prompt_sha256: str) -> "Sampling":
        """A copy with a seed that depends on the prompt, so that prompts do not share noise."""
        return replace(self, seed=self.seed ^ int(prompt_sha256[:8], 16))

    def after(self, tokens: tuple[int, int]) -> float:
        """The temperature for the token that follows the two ``tokens``."""
        before, last = tokens
        indented = before in self.newlines and last in self.indents
        if (indented or last in self.line_starts) and self.block_temperature is not None:
            return self.block_temperature
        return self.temperature


GREEDY = Sampling()


@dataclass(frozen=True, slots=True)
class Request:
    """Prompt token ids, the cap on new tokens, and the ids after which decoding stops."""

    prompt_ids: tuple[int, ...]
    max_new_tokens: int
    stop_ids: frozenset[int]
    sampling: Sampling = GREEDY

    def cut(self, emitted: int, tokens: list[int]) -> tuple[list[int], bool]:
        """Apply the stop rule and the cap rule, which are the same for all methods.

        Cuts ``tokens`` after the first stop id and at the cap, of which ``emitted`` earlier tokens
        are used up. Returns the tokens that remain, and whether decoding is over.
        """
        kept = tokens[: self.max_new_tokens - emitted]
        for index, token in enumerate(kept):
            if token in self.stop_ids:
                return kept[: index + 1], True
        return kept, emitted + len(kept) >= self.max_new_tokens


@dataclass(frozen=True, slots=True)
class StepRecord:
    """What one verify forward of the target committed.

    ``draft_size`` counts the draft tokens that were verified, without the root; ``rows`` counts all
    rows of the forward. ``path`` lists the accepted draft nodes by their index in the tree, whose
    root is 0 and left out. It has one node fewer than there are ``tokens``, since the last token is
    the target's own. If an answer ends in an accepted draft, that draft is the last token, and its
    node is left out too.
    """

    tokens: tuple[int, ...]
    draft_size: int = 0
    rows: int = 1
    path: tuple[int, ...] = ()


Emit = Callable[[StepRecord], None]


class Decoder(ABC):
    """A method with one setting, bound to a target.

    The first record ends the prefill phase, and its tokens are not counted for the decode phase. It
    carries one token, unless another project's decoder drafts before its first forward. Subclasses
    override :meth:`steps`, or derive from :class:`EmittingDecoder` and override :meth:`decode`.
    """

    lossless: bool = True
    # positions of the target's context that it may use beyond those of prompt and answer
    beyond: int = 0

    @abstractmethod
    def steps(self, request: Request) -> Iterator[StepRecord]:
        """Yield one record per step until a stop id is committed or the cap is reached."""

    def extra_bytes(self) -> int:
        """Bytes beside the target's weights (parameters, cache, buffers), computed from sizes."""
        return 0

    def remember(self, records: Sequence[StepRecord]) -> None:  # noqa: B027 - most carry nothing
        """Learn from the steps of an answer what later answers may use.

        Called once for each answer that counts, in order: not after a warm-up, a repeated run or an
        audit. A resumed session calls :meth:`relive` for its earlier answers. Decoding alone must
        carry nothing over from one answer to the next.
        """

    def relive(self, request: Request, records: Sequence[StepRecord]) -> None:
        """As :meth:`remember`, in a resumed session, of an answer that another process decoded."""
        self.remember(records)

    def decode(self, request: Request, emit: Emit) -> None:
        """Hand each record to ``emit`` as soon as its tokens are known on the host."""
        for record in self.steps(request):
            emit(record)


class EmittingDecoder(Decoder):
    """A decoder whose backend calls ``emit`` for each step, as a streamer does."""

    def steps(self, request: Request) -> Iterator[StepRecord]:
        """Yield all records once decoding has ended; to time steps, use :meth:`decode`."""
        records: list[StepRecord] = []
        self.decode(request, records.append)
        yield from records

    @abstractmethod
    def decode(self, request: Request, emit: Emit) -> None:
        """Hand each record to ``emit`` as soon as its tokens are known on the host."""


def collect(decoder: Decoder, request: Request) -> tuple[list[int], list[StepRecord]]:
    """Decode untimed; returns (new token ids, step records)."""
    records: list[StepRecord] = []
    decoder.decode(request, records.append)
    return [token for record in records for token in record.tokens], records
