"""Lookahead: mask and positions in closed form, window tokens against a cache-free reference."""

import pytest
import torch

from harness.decoder import Request, collect
from harness.engine.drafter import Context, Drafter, Outcome
from harness.engine.loop import EngineDecoder
from harness.engine.target import Target
from methods.lookahead.drafter import LookaheadDrafter, trie
from methods.lookahead.window import Pool, Window, layout
from tests.models import ARCHITECTURES, VOCAB, tiny_model

PROMPT = tuple((11 * i + 3) % VOCAB for i in range(9))
SIZES = [(4, 4, 3), (5, 3, 5), (7, 5, 7), (15, 5, 15), (3, 6, 2)]


def sees(width: int, a: tuple[int, int], b: tuple[int, int]) -> bool:
    """The closed form: whether the row of (level, column) a sees that of b; column 0 of level 0 is
    the root and not a row.
    """
    (level, column), (other_level, other_column) = a, b
    if other_level == 0:
        return other_column <= column
    return other_column == column and other_level <= level


@pytest.mark.parametrize(("width", "ngram", "guesses"), SIZES)
def test_mask_and_positions_are_the_closed_form(width: int, ngram: int, guesses: int) -> None:
    visible, positions = layout((width - 1, *[width] * (ngram - 2)))
    places = [(0, j) for j in range(1, width)]
    places += [(level, j) for level in range(1, ngram - 1) for j in range(width)]
    assert len(places) == len(positions)
    wanted = torch.tensor([[sees(width, a, b) for b in places] for a in places])
    assert torch.equal(visible, wanted)
    assert positions.tolist() == [level + column for level, column in places]
    assert not torch.equal(visible, wanted.T), "control: a mask the other way round"


class Watched(LookaheadDrafter):
    """Keeps, for every step, the committed text, the window before and the tokens made after."""

    seen: list[tuple[list[int], list[list[int]], list[list[int]]]]

    def observe(self, context: Context, outcome: Outcome) -> None:
        before = [list(level) for level in self.window.levels]
        text = context.tokens[: len(context.tokens) - len(outcome.tokens)]
        super().observe(context, outcome)
        self.seen.append((text, before, [list(level) for level in self.window.levels]))


def reference(target: Target, text: list[int], levels: list[list[int]]) -> list[int]:
    """What the model says after each row of the last level, one sequence at a time, no cache.

    The row of level l, column j stands behind the text, level 0 up to column j, and its own column
    in levels 1 .. l, each at its own position.
    """
    found = []
    root = len(text) - 1
    last = len(levels) - 1
    for index in range(len(levels[last])):
        column = index + 1 if last == 0 else index
        ids, positions = list(text), list(range(len(text)))
        for j in range(1, column + 1):
            ids.append(levels[0][j - 1])
            positions.append(root + j)
        for level in range(1, last + 1):
            ids.append(levels[level][column])
            positions.append(root + column + level)
        out = target.model(
            input_ids=torch.tensor([ids]),
            position_ids=torch.tensor([positions]),
            attention_mask=torch.ones(1, 1, len(ids), len(ids)).tril().bool(),
            use_cache=False,
        )
        found.append(int(out.logits[0, -1].argmax()))
    return found


# Mistral's window counts positions, which a plain causal mask of the reference does not.
@pytest.mark.parametrize("name", [n for n in ARCHITECTURES if n != "mistral"])
@pytest.mark.parametrize("sizes", [(4, 4, 3), (5, 3, 5), (3, 6, 2)])
@torch.inference_mode()
def test_window_tokens_are_the_targets(name: str, sizes: tuple[int, int, int]) -> None:
    target = Target(tiny_model(name))
    drafter = Watched(target, sizes)
    drafter.seen = []
    collect(EngineDecoder(target, drafter), Request(PROMPT, 24, frozenset()))
    assert len(drafter.seen) > sizes[1]
    differing = 0
    for text, before, after in drafter.seen:
        wanted = reference(target, text, before)
        made = after[-1]
        # While the window fills, the column that the root moves onto is dropped.
        assert made == wanted[len(wanted) - len(made) :]
        differing += made != reference(target, text, [*before[:-1], before[-1][::-1]])[-len(made) :]
    assert differing, "control: another order of the newest level gives other tokens"


def test_a_step_multiplies_with_the_vocabulary_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """As its authors' code does: the window's newest rows stand beside the guesses'."""
    target, widths = Target(tiny_model("llama")), list[int]()
    logits = target.logits

    def counted(hidden: torch.Tensor) -> torch.Tensor:
        widths.append(len(hidden))
        return logits(hidden)

    monkeypatch.setattr(target, "logits", counted)
    decoder = EngineDecoder(target, LookaheadDrafter(target, (4, 4, 3)))
    _, records = collect(decoder, Request(PROMPT, 24, frozenset()))
    assert len(widths) == len(records)
    newest = [width - 1 - record.draft_size for width, record in zip(widths, records, strict=True)]
    assert newest[-1] == 4
    assert min(newest) > 0


def test_a_full_window_keeps_its_shape_and_yields_one_ngram_a_column() -> None:
    window = Window.start([1, 2, 3], width=4, ngram=4, seed=0)
    sizes = [[len(level) for level in window.levels]]
    for step in range(4):
        found = window.advance(9, list(range(10 * step, 10 * step + len(window.levels[-1]))))
        sizes.append([len(level) for level in window.levels])
        assert len(found) == (4 if step >= 2 else 0)
    assert sizes == [[5], [4, 5], [3, 4, 4], [3, 4, 4], [3, 4, 4]]
    assert found[0][0] == 9
    assert all(len(followers) == 3 for _, followers in found)


def test_pool_keeps_the_newest() -> None:
    pool = Pool(2)
    for followers in ((1, 1), (2, 2), (1, 1), (3, 3)):
        pool.add(7, followers)
    assert pool.after(7) == [(3, 3), (1, 1)]
    assert pool.after(8) == []


def test_guesses_share_their_beginnings() -> None:
    tree = trie(5, [(1, 2, 3), (1, 2, 4), (6, 2, 3)])
    assert tree.tokens == [5, 1, 2, 3, 4, 6, 2, 3]
    assert tree.shape.parents == (-1, 0, 1, 2, 2, 0, 5, 6)


def test_a_guess_accepted_whole_commits_the_token_after_it() -> None:
    target = Target(tiny_model("llama"))
    request = Request(PROMPT, 30, frozenset())
    truth, _ = collect(EngineDecoder(target, Drafter()), request)

    class Knows(LookaheadDrafter):
        def begin(self, context: Context) -> None:
            super().begin(context)
            self.pool.add_text([*PROMPT, *truth], 4)

    tokens, records = collect(EngineDecoder(target, Knows(target, (4, 4, 3))), request)
    assert tokens == truth
    # N tokens: the N - 1 of a guess and the bonus.
    assert max(len(record.tokens) for record in records) == 4
