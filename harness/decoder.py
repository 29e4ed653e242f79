"""The one interface that every decoding method implements, ours and foreign ones alike.

A decoder turns a request into step records. It knows no clock, no dataset and no file: whoever
calls it stamps the time when a record arrives.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Sampling:
    """Token choice: argmax at temperature 0, else coupled Gumbel noise drawn from ``seed``.

    ``top_p``: of the probability, which the tokens drawn from hold at least.
    ``block_temperature``: in place of the other where a line of a block of code begins, which is
    behind one of the ``newlines`` and one of the ``indents`` after it, token ids: AdapT sampling
    (Zhu et al., arXiv 2309.02772) by the rule of its authors' code.
    """

    temperature: float = 0.0
    seed: int = 0
    top_p: float = 1.0
    block_temperature: float | None = None
    newlines: frozenset[int] = frozenset()
    indents: frozenset[int] = frozenset()

    def of(self, prompt_sha256: str) -> "Sampling":
        """The same with a seed of the prompt's own, so that prompts do not share their noise."""
        return replace(self, seed=self.seed ^ int(prompt_sha256[:8], 16))

    def after(self, tokens: tuple[int, int]) -> float:
        """The temperature of the token behind two others."""
        before, last = tokens
        begins = before in self.newlines and last in self.indents
        if begins and self.block_temperature is not None:
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

    def keep(self, emitted: int, tokens: list[int]) -> tuple[list[int], bool]:
        """The one stop rule and the one cap rule.

        Cuts ``tokens`` after the first stop id and at the cap, ``emitted`` tokens having been
        committed before; returns what is left and whether decoding is over.
        """
        kept = tokens[: self.max_new_tokens - emitted]
        for index, token in enumerate(kept):
            if token in self.stop_ids:
                return kept[: index + 1], True
        return kept, emitted + len(kept) >= self.max_new_tokens


@dataclass(frozen=True, slots=True)
class StepRecord:
    """What one forward of the target committed.

    ``draft_size`` counts the draft tokens verified, root excluded; ``rows`` all rows of the verify
    forward. ``path``: the accepted draft nodes, as indices into the tree without its root. It has
    one node fewer than there are tokens, since the last token is the target's own. Where an answer
    ends in an accepted draft, that last token is the draft, and its node is left out.
    """

    tokens: tuple[int, ...]
    draft_size: int = 0
    rows: int = 1
    path: tuple[int, ...] = ()


Emit = Callable[[StepRecord], None]


class Decoder(ABC):
    """A method with one setting, bound to a target.

    The first record ends the prefill phase: its tokens count for no arm's decode phase. It carries
    one token, unless a foreign decoder drafts before its first forward. Either override
    :meth:`steps` and yield records, or override :meth:`decode` and call ``emit``.
    """

    lossless: bool = True
    # positions of the target's context that it may take beyond those of prompt and answer
    beyond: int = 0

    @abstractmethod
    def steps(self, request: Request) -> Iterator[StepRecord]:
        """Yield one record a step until a stop id is committed or the cap is reached."""

    def extra_bytes(self) -> int:
        """Bytes held beside the target's weights: own parameters, cache and buffers; computed."""
        return 0

    def remember(self, records: Sequence[StepRecord]) -> None:  # noqa: B027 - most carry nothing
        """Carry what the steps of an answer taught over to the next ones.

        Called for each answer that counts, once, in their order: not after a warm-up, a run that is
        taken again or an audit, and anew by a resumed session. Decoding alone carries nothing over.
        """

    def relive(self, request: Request, records: Sequence[StepRecord]) -> None:
        """Carry over what an answer taught that another process decoded: a session resumes."""
        self.remember(records)

    def decode(self, request: Request, emit: Emit) -> None:
        """Hand each record to ``emit`` as soon as its tokens are known on the host."""
        for record in self.steps(request):
            emit(record)


class EmittingDecoder(Decoder):
    """A decoder whose backend calls back, as a streamer does, instead of yielding."""

    def steps(self, request: Request) -> Iterator[StepRecord]:
        """All records at once, after the fact; time them through :meth:`decode`."""
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
