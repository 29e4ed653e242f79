"""Drafts follow their parents: engine, training and slow references agree, method by method.

References know no cache, no tree and no engine: for each node the whole text and its path are run
again from the start.
"""

import copy
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from harness.decoder import Request, collect
from harness.engine import Context, EngineDecoder, Outcome, Target, Tree, Verified
from harness.method import Answer
from methods.chimera import training as chimera_training
from methods.chimera.drafter import ChimeraDrafter, Trigrams
from methods.chimera.net import NetDecoder as ChimeraDecoder
from methods.chimera.settings import ChimeraSettings
from methods.eagle.drafter import EagleDrafter, Features
from methods.eagle.net import NetDecoder as EagleDecoder
from methods.eagle.settings import EagleSettings
from methods.eagle.training import Predictor
from methods.firp.bottlenecks import followed
from methods.firp.drafter import MapProducts
from methods.firp.parents import Followed, ParentsDrafter, tables
from methods.firp.streams import Streams
from methods.hydra import training as hydra_training
from methods.hydra.drafter import HeadProducts, HydraDrafter, Paths
from methods.shared.conditioned import Ahead, ConfidentTree, DraftTree, FixedTree
from methods.shared.own_layer import LayerDecoder, accepted
from methods.shared.sequences import batch_sequences
from methods.shared.trees import RankPath, StaticTree
from tests.methods.drafters import chimera_net, eagle_net, hydra_heads, random_maps
from tests.methods.test_firp_drafts import reference as pseudo_reference
from tests.models import VOCAB, tiny_model

PROMPT = tuple((11 * i + 3) % VOCAB for i in range(9))
PATHS: list[RankPath] = [(0,), (1,), (2,), (0, 0), (0, 1), (1, 0), (2, 3), (0, 1, 0), (1, 0, 2)]
NAMES = ("llama", "mistral", "qwen2", "qwen3")
# (committed text with the next root, drafted path) -> [V] logits of what follows the path
Reference = Callable[[list[int], list[int]], Tensor]


def states(target: Target, tokens: list[int]) -> Tensor:
    """[T, H] normed final states by the model's own forward."""
    body = target.model.model
    found: Tensor = body(input_ids=torch.tensor([tokens]), use_cache=False).last_hidden_state[0]
    return found


def embedded(target: Target, tokens: list[int]) -> Tensor:
    return target.model.model.embed_tokens(torch.tensor(tokens))


def layer_rows(target: Target, layer: Any, rows: Tensor) -> Tensor:
    """[T, H] rows behind one layer that sees causally."""
    count = len(rows)
    mask = torch.full((count, count), -torch.inf).triu(1)[None, None]
    rotary = target.model.model.rotary_emb(rows[None], position_ids=torch.arange(count)[None])
    made: Tensor = layer(rows[None], attention_mask=mask, position_embeddings=rotary)[0]
    return made


def of_hydra(target: Target, heads: Any) -> Reference:
    def logits(text: list[int], path: list[int]) -> Tensor:
        final = states(target, text[:-1])
        if heads.prefix is not None:
            final = heads.prefix.norm(layer_rows(target, heads.prefix.layer, final))
        given = torch.cat([final[-1], *embedded(target, [text[-1], *path])])
        found: Tensor = heads(1 + len(path), given)
        return found

    return logits


def of_eagle(target: Target, net: Any) -> Reference:
    def logits(text: list[int], path: list[int]) -> Tensor:
        features = states(target, text[:-1])
        for token in (None, *path):
            if token is not None:
                features = torch.cat([features, made[-1:]])  # noqa: F821
                text = [*text, token]
            pairs = torch.cat([embedded(target, text[1:]), features], dim=-1)
            made = layer_rows(target, net.layers[0], net.fc(pairs))
        found: Tensor = target.model.lm_head(made[-1])
        return found

    return logits


def of_chimera(target: Target, net: Any) -> Reference:
    def logits(text: list[int], path: list[int]) -> Tensor:
        final = states(target, text[:-1])
        whole = [*text, *path]
        trigrams = []
        for end in range(len(text), len(whole) + 1):
            wide = embedded(target, whole[end - 3 : end]).flatten()
            trigrams.append(net.narrow(wide + silu(net.block.linear(wide))))
        made = layer_rows(target, net.layer, torch.cat([final, torch.stack(trigrams)]))[-1]
        if net.shared:
            shared: Tensor = target.model.lm_head(final[-1] + made)
            return shared
        found: Tensor = net.heads[len(path)](torch.cat([final[-1], made]))
        return found

    return logits


def of_parents(target: Target, maps: Any) -> Reference:
    def logits(text: list[int], path: list[int]) -> Tensor:
        step, own = len(path), maps.parents
        # the pseudo state itself: what the head would read of it
        head = target.model.lm_head
        pseudo = torch.linalg.lstsq(head.weight, pseudo_reference(target, maps, text[:-1])[step])
        state = pseudo.solution
        token = embedded(target, [[*text, *path][-1]])[0]
        inner = state @ own.of_state[step] + token @ own.of_token[step]
        found: Tensor = head(state + silu(inner) @ own.up[step])
        return found

    return logits


@dataclass(frozen=True)
class Case:
    make: Callable[[Target], Any]
    drafter: Callable[[Target, Any, DraftTree], Any]
    reference: Callable[[Target, Any], Reference]
    ahead: type[Ahead]


CASES = {
    "hydra": Case(
        hydra_heads,
        lambda target, heads, tree: HydraDrafter(target, HeadProducts(heads, target), tree),
        of_hydra,
        Paths,
    ),
    "hydra_shared": Case(
        lambda target: hydra_heads(target, shared=True),
        lambda target, heads, tree: HydraDrafter(target, HeadProducts(heads, target), tree),
        of_hydra,
        Paths,
    ),
    "hydra_plus": Case(
        lambda target: hydra_heads(target, 4, prefix=True),
        lambda target, heads, tree: HydraDrafter(target, HeadProducts(heads, target), tree),
        of_hydra,
        Paths,
    ),
    "eagle": Case(
        eagle_net,
        lambda target, net, tree: EagleDrafter(target, EagleDecoder(target, net), tree),
        of_eagle,
        Features,
    ),
    "chimera": Case(
        chimera_net,
        lambda target, net, tree: ChimeraDrafter(target, ChimeraDecoder(target, net), tree),
        of_chimera,
        Trigrams,
    ),
    "chimera_shared": Case(
        lambda target: chimera_net(target, shared=True),
        lambda target, net, tree: ChimeraDrafter(target, ChimeraDecoder(target, net), tree),
        of_chimera,
        Trigrams,
    ),
    "firp_parents": Case(
        lambda target: random_maps(target, parents=4),
        lambda target, maps, tree: ParentsDrafter(MapProducts(maps, target), tree),
        of_parents,
        Followed,
    ),
}


@dataclass
class Seen:
    """A step's committed text with the next root, and what was drafted behind it."""

    text: list[int]
    drafts: Tree
    accepted: int


def watch(
    case: Case, name: str, tree: DraftTree, kind: type[EngineDecoder] = EngineDecoder
) -> tuple[list[Seen], Target, Any]:
    target = Target(tiny_model(name))
    learnt = case.make(target)
    used = case.drafter(target, learnt, tree)
    seen: list[Seen] = []
    observe = used.observe

    def watching(context: Context, outcome: Outcome) -> None:
        observe(context, outcome)
        seen.append(Seen(list(context.tokens), used.draft(context), len(outcome.path)))

    used.observe = watching
    with torch.no_grad():
        collect(kind(target, used), Request(PROMPT, 40, frozenset()))
    assert len(seen) > 5
    return seen, target, learnt


@torch.no_grad()
def test_a_head_s_bias_is_in_the_logits_once() -> None:
    model = copy.deepcopy(tiny_model("llama"))
    model.lm_head = nn.Linear(model.config.hidden_size, VOCAB)
    target = Target(model)
    maps = random_maps(target, parents=4)
    own = maps.parents
    assert own is not None
    made, states = tables(own, target), torch.randn(3, target.hidden_size)
    of_states = torch.bmm(states[:, None], own.of_state)[:, 0]
    ahead = Followed(made, of_states, target.head(states), made.of_token[1][[5]])
    weights = own.of_state[1], own.of_token[1], own.up[1]
    reference = model.lm_head(followed(weights, states[1:2], embedded(target, [5])))
    torch.testing.assert_close(ahead.logits(ahead.first, 2), reference, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def fixed_drafts(reference: Reference, text: list[int]) -> list[int]:
    """Drafts of ``PATHS`` behind ``text``, node by node."""
    found: dict[RankPath, int] = {}
    for path in sorted(PATHS, key=lambda path: (len(path), path)):
        above = [found[path[:depth]] for depth in range(1, len(path))]
        order = reference(text, above).argsort(descending=True)
        found[path] = int(order[path[-1]])
    return list(found.values())


@pytest.mark.parametrize("method", CASES)
@pytest.mark.parametrize("name", NAMES)
def test_drafts_are_those_of_a_slow_reference(name: str, method: str) -> None:
    case = CASES[method]
    seen, target, learnt = watch(case, name, FixedTree(PATHS, torch.device("cpu")))
    reference = case.reference(target, learnt)
    for step in seen[::2]:
        assert step.drafts.tokens[1:] == fixed_drafts(reference, step.text)


@pytest.mark.parametrize("method", CASES)
def test_drafts_of_confident_trees_are_those_of_the_reference(method: str) -> None:
    """Every node's tokens are among its parent's likeliest, and the best of all are there."""
    case = CASES[method]
    seen, target, learnt = watch(case, "llama", ConfidentTree(6, 3))
    reference = case.reference(target, learnt)
    for step in seen[::4]:
        tree = step.drafts
        paths = [tuple(tree.tokens[n] for n in tree.path(node)[1:]) for node in range(1, 7)]
        assert set(paths) == best_paths(reference, step.text, 6)


@torch.no_grad()
def best_paths(reference: Reference, text: list[int], drafts: int) -> set[tuple[int, ...]]:
    """The likeliest paths down to three drafts, among those of each node's ``drafts`` likeliest."""
    scores: dict[tuple[int, ...], float] = {(): 0.0}
    for depth in range(1, 4):
        # a path beyond its depth's best ``drafts`` cannot be among the best of all
        above = sorted((p for p in scores if len(p) == depth - 1), key=lambda p: -scores[p])
        for path in above[:drafts]:
            likely = reference(text, list(path)).log_softmax(-1).topk(drafts)
            for value, token in zip(*likely, strict=True):
                scores[(*path, int(token))] = scores[path] + float(value)
    del scores[()]
    return set(sorted(scores, key=lambda path: -scores[path])[:drafts])


@pytest.mark.parametrize("method", CASES)
def test_control_drafts_that_do_not_follow(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES[method]
    follow: Any = case.ahead.follow

    def astray(self: Any, rows: Tensor, tokens: Tensor, drafted: Tensor, depth: int) -> Tensor:
        made: Tensor = follow(self, rows, (tokens + 1) % VOCAB, drafted, depth)
        return made

    monkeypatch.setattr(case.ahead, "follow", astray)
    seen, target, learnt = watch(case, "llama", FixedTree(PATHS, torch.device("cpu")))
    reference = case.reference(target, learnt)
    assert any(step.drafts.tokens[1:] != fixed_drafts(reference, step.text) for step in seen)


class Agreeing(EngineDecoder):
    """The target chooses what one of the drafted paths says, another one at each step: a random
    target would hardly ever.
    """

    def choose(self, context: Context, tree: Tree, *given: Any) -> tuple[Tensor, Tensor]:
        chosen, _ = super().choose(context, tree, *given)
        chosen, last = chosen.clone(), len(context.tokens) % len(tree.tokens)
        path = tree.path(last)
        for above, node in itertools.pairwise(path):
            chosen[above] = tree.tokens[node]
        return chosen, torch.tensor(last)


@pytest.mark.parametrize("method", ["hydra_plus", "eagle", "chimera"])
def test_rows_of_an_accepted_path_are_kept(method: str) -> None:
    """Where the target does what is drafted: every step accepts, and drafts are the reference's."""
    case = CASES[method]
    tree = FixedTree(PATHS, torch.device("cpu"))
    seen, target, learnt = watch(case, "llama", tree, Agreeing)
    assert sum(step.accepted > 1 for step in seen) > 3
    reference = case.reference(target, learnt)
    assert all(step.drafts.tokens[1:] == fixed_drafts(reference, step.text) for step in seen)


@pytest.mark.parametrize("method", ["hydra_plus", "eagle", "chimera"])
def test_control_a_path_of_which_only_the_root_is_kept(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = LayerDecoder.commit
    # the prompt, of more rows, is kept
    monkeypatch.setattr(
        LayerDecoder, "commit", lambda self, rows: commit(self, rows if rows > 5 else 1)
    )
    case = CASES[method]
    tree = FixedTree(PATHS, torch.device("cpu"))
    seen, target, learnt = watch(case, "llama", tree, Agreeing)
    reference = case.reference(target, learnt)
    assert any(step.drafts.tokens[1:] != fixed_drafts(reference, step.text) for step in seen)


def predictors(method: str, target: Target, learnt: Any) -> Any:
    if method.startswith("hydra"):
        return hydra_training.predictor(target, learnt, "kl")
    if method == "eagle":
        return Predictor(target, learnt, EagleSettings())
    if method.startswith("chimera"):
        return chimera_training.predictor(target, learnt, ChimeraSettings())
    return Streams(target, learnt).predict


@pytest.mark.parametrize("method", CASES)
@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_training_logits_are_the_reference_s(name: str, method: str) -> None:
    """Along a text, two answers of different length in one batch: every step, every position."""
    target = Target(tiny_model(name))
    learnt = CASES[method].make(target)
    reference = CASES[method].reference(target, learnt)
    texts = [[(7 * i + 5) % VOCAB for i in range(24)], [(5 * i + 2) % VOCAB for i in range(17)]]
    answers = [Answer(tuple(text[:6]), tuple(text[6:])) for text in texts]
    batch = batch_sequences(answers, 3, None, torch.Generator())
    logits, losses = predictors(method, target, learnt)(batch)
    assert losses.shape == batch.valid.shape
    for b, text in enumerate(texts):
        for row, at in itertools.islice(enumerate(batch.selected[b].tolist()), 0, 11, 5):
            for step in range(3):
                if batch.valid[b, step, row]:
                    known = text[: at + 2]
                    wanted = reference(known, text[at + 2 : at + 2 + step])
                    scale = float(wanted.abs().max())
                    torch.testing.assert_close(
                        logits[b, step, row], wanted, rtol=0, atol=1e-4 * scale
                    )


class Toy(Ahead):
    """Logits that are a fixed random function of the path; rows are the path's number."""

    def __init__(self, tokens: int, depth: int) -> None:
        generator = torch.Generator().manual_seed(4)
        self.table = torch.randn(tokens**depth * 2, tokens, generator=generator)
        self.tokens = tokens
        self.first = torch.ones(1, 1)

    def logits(self, rows: Tensor, depth: int) -> Tensor:
        return self.table[rows[:, 0].long() % len(self.table)]

    def follow(self, rows: Tensor, tokens: Tensor, drafted: Tensor, depth: int) -> Tensor:
        assert drafted.sum(-1).tolist() == [depth] * len(tokens), "ancestors and itself"
        return rows * self.tokens + tokens[:, None]


@pytest.mark.parametrize("drafts", [1, 3, 7, 20])
def test_confident_trees_hold_the_likeliest_paths(drafts: int) -> None:
    toy = Toy(4, 3)
    tree = ConfidentTree(drafts, 3)
    built = tree.build(9, tree.expand(toy).tolist())
    scores = {}
    for depth in (1, 2, 3):
        for path in itertools.product(range(4), repeat=depth):
            row, score = torch.ones(1, 1), 0.0
            for token in path:
                score += float(toy.logits(row, 0).log_softmax(-1)[0, token])
                row = row * 4 + token
            scores[path] = score
    best = set(sorted(scores, key=lambda path: -scores[path])[:drafts])
    found = [tuple(built.tokens[n] for n in built.path(node)[1:]) for node in range(1, drafts + 1)]
    assert set(found) == best
    assert built.tokens[0] == 9


def test_equal_scores_never_lose_a_parent() -> None:
    """Probabilities that round to one: a child scores as much as its parent."""

    class Certain(Toy):
        def logits(self, rows: Tensor, depth: int) -> Tensor:
            sure = torch.full((len(rows), self.tokens), -1e4)
            sure[:, 2] = 1e4
            return sure

    tree = ConfidentTree(3, 5)
    built = tree.build(0, tree.expand(Certain(4, 3)).tolist())
    assert built.shape.parents == (-1, 0, 1, 2)
    assert built.tokens == [0, 2, 2, 2]


def test_a_verified_step_gives_the_device_s_path() -> None:
    shape = StaticTree(PATHS).shape
    tree = Tree(shape, list(range(len(shape))))
    for last in range(len(shape)):
        none = torch.empty(0)
        verified = Verified(none, none, none, torch.tensor(last), none)
        nodes, depth = accepted(tree, verified)
        assert nodes[: int(depth) + 1].tolist() == tree.path(last)
        assert int(depth) == len(tree.path(last)) - 1
        assert len(nodes) == 4
