"""Bugs, each a small change to a decoder, a request, a record, a row or a prompt of ``lab``."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch

from harness.data.prompts import Prompt, hash_ids
from harness.decoder import Request, StepRecord
from harness.engine.block import Block
from harness.engine.drafter import ExtraRows
from harness.engine.loop import EngineDecoder
from harness.engine.masks import BlockLayout
from harness.engine.tree import Tree
from tests.lab import QUESTIONS, Knowing, Row, prompt, target

# Bugs of the engine: what is kept of a forward, and what its rows see.


class OneTooMany(EngineDecoder):
    """The draft after the last accepted one passes too."""

    def read(self, tree, *device):  # type: ignore[no-untyped-def]
        chosen, path, read = super().read(tree, *device)
        parents = tree.shape.parents
        return chosen, path + [n for n, p in enumerate(parents) if p == path[-1]][:1], read


class NoCompaction(EngineDecoder):
    """Accepted rows stay where they were, between the rejected ones."""

    def commit(self, path: list[int]) -> None:
        self.target.arena.length += len(path)


class OneRowShort(EngineDecoder):
    """The last accepted row is not committed."""

    def commit(self, path: list[int]) -> None:
        super().commit(path)
        self.target.arena.length -= len(path) > 1


class OtherLayout(EngineDecoder):
    """The tree's rows stand, or look, where they should not."""

    def block(self, tree: Tree, extra: ExtraRows | None) -> Block:
        block = super().block(tree, extra)
        return replace(block, layout=self.wrong(block.layout))

    def wrong(self, layout: BlockLayout) -> BlockLayout:
        raise NotImplementedError


class ShiftedPositions(OtherLayout):
    """Draft rows stand one position too far."""

    def wrong(self, layout: BlockLayout) -> BlockLayout:
        return replace(layout, positions=layout.positions + (layout.positions > 0))


class SiblingsSeen(OtherLayout):
    """Each row sees all rows before it."""

    def wrong(self, layout: BlockLayout) -> BlockLayout:
        return replace(layout, visible=torch.ones_like(layout.visible).tril())


# Bugs of the request: the arm decodes another one than was asked.


class OtherRequest(EngineDecoder):
    """The arm decodes ``other(request)``."""

    def __init__(self, other: Callable[[Request], Request]) -> None:
        super().__init__(target(), Knowing())
        self._other = other

    def steps(self, request: Request) -> Iterator[StepRecord]:
        return super().steps(self._other(request))


class Dropping(Request):
    """The first of several tokens is lost; decoding goes on to the cap."""

    def cut(self, emitted: int, tokens: list[int]) -> tuple[list[int], bool]:
        return super().cut(emitted, tokens[len(tokens) > 1 :])


class KeepsTheRest(Request):
    """The step with the stop token is the last, but what follows the token is kept."""

    def cut(self, emitted: int, tokens: list[int]) -> tuple[list[int], bool]:
        kept = tokens[: self.max_new_tokens - emitted]
        finished = not self.stop_ids.isdisjoint(kept)
        return kept, finished or emitted + len(kept) >= self.max_new_tokens


def of_kind(kind: type[Request]) -> Callable[[Request], Request]:
    return lambda asked: kind(asked.prompt_ids, asked.max_new_tokens, asked.stop_ids)


# Bugs of the records: right tokens, wrongly reported.


class LosesARecordsToken(EngineDecoder):
    """The engine is right, but records of several tokens lack the first."""

    def steps(self, request: Request) -> Iterator[StepRecord]:
        for record in super().steps(request):
            yield replace(record, tokens=record.tokens[len(record.tokens) > 1 :])


class FirstTwoAsOne(EngineDecoder):
    """The prefill's token and the first decode step come in one record."""

    def steps(self, request: Request) -> Iterator[StepRecord]:
        records = super().steps(request)
        first, second = next(records), next(records)
        yield replace(second, tokens=first.tokens + second.tokens)
        yield from records


class TwoStepsAsOne(EngineDecoder):
    """Decode steps are reported in pairs: tokens and paths of both in one record."""

    def steps(self, request: Request) -> Iterator[StepRecord]:
        records = super().steps(request)
        yield next(records)
        for record in records:
            other = next(records, StepRecord(()))
            tokens, path = record.tokens + other.tokens, record.path + other.path
            yield replace(record, tokens=tokens, path=path)


def counts_past_the_end(row: Row) -> None:
    """The last step counts all that it reached, not what was kept."""
    row["step_tokens"][-1] = len(row["step_path"][-1]) + 2


def other_hash(row: Row) -> None:
    row["ids_sha256"] = hash_ids([1, 2, 3])


def not_frozen(question: int) -> Prompt:
    """A prompt by its name, but with other ids and their hash."""
    asked, other = prompt(question), prompt(QUESTIONS + question)
    return replace(asked, input_ids=other.input_ids, sha256=other.sha256)
