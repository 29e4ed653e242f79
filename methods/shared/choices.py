"""The choice of a draft tree; foretold from rank traces where its kind allows it."""

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from harness.errors import HarnessError
from harness.files import checked, read_json, replacing
from methods.shared.trees import (
    BestFirstTree,
    StaticTree,
    Trace,
    TreePolicy,
    grow,
    replay,
    replay_best_first,
)

SETTING, CONFIG, ACCURACY = "setting.json", "config.json", "rank_accuracy.csv"
POLICIES = ("static", "best_first")
CONDITIONED = ("static", "dynamic")  # of methods whose drafts depend on those before them
# Of heads: what they are trained to, and whose vocabulary matrix they read.
LOSSES, HEADS = ("cross_entropy", "kl"), ("own", "shared")
RANKS = 10
MOST_DRAFTS = 1024  # of a tree


@dataclass(frozen=True, slots=True)
class TreeChoice:
    """A tree of ``drafts`` nodes down to ``depth``; ``paths`` where it is static."""

    policy: Literal["static", "best_first", "dynamic"]
    drafts: Annotated[int, Field(ge=0, le=MOST_DRAFTS)]
    depth: Annotated[int, Field(ge=0, le=64)]
    paths: tuple[tuple[Annotated[int, Field(ge=0, le=1024)], ...], ...] = ()

    def build(self) -> TreePolicy:
        """The policy that drafts this tree."""
        if self.policy == "static":
            return StaticTree(self.paths)
        return BestFirstTree(self.drafts, self.depth)

    def as_setting(self) -> dict[str, Any]:
        """Plain values for ``setting.json``."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Traced:
    """What a method's drafts would have been on the tune answers: rank traces, and the places at
    which best-first trees come to the right tokens. Nothing is decoded for it.
    """

    ranks: Sequence[Trace]
    places: Sequence[Trace]

    def acceptance_length(self, choice: TreeChoice) -> float | None:
        """Tokens a step with that tree; None where only decoding can tell."""
        if choice.policy == "dynamic":
            return None
        if choice.policy == "static":
            return replay(self.ranks, choice.paths).acceptance_length
        return replay_best_first(self.places, choice.drafts).acceptance_length


def tree_choices(
    traces: Sequence[Trace], policies: Sequence[str], sizes: Sequence[int], steps: int
) -> list[TreeChoice]:
    """A tree of every policy and size; static ones are grown from ``traces``, which may hold fewer
    paths than asked for.
    """
    found = []
    for drafts in sizes:
        if "static" in policies:
            paths = tuple(grow(traces, drafts, steps))
            depth = max((len(path) for path in paths), default=0)
            found.append(TreeChoice("static", len(paths), depth, paths))
        if "best_first" in policies:
            found.append(TreeChoice("best_first", drafts, min(drafts, steps)))
        if "dynamic" in policies:
            found.append(TreeChoice("dynamic", drafts, min(drafts, steps)))
    return [choice for choice in found if choice.depth > 0]


def read_setting(folder: Path, extra: Sequence[str] = ()) -> tuple[TreeChoice, dict[str, Any]]:
    """The tree that tuning chose, and the values named in ``extra`` beside it."""
    setting = read_json(folder / SETTING)
    try:
        beside = {name: setting.pop(name) for name in extra}
        return checked(TreeChoice, setting, str(folder / SETTING), strict=False), beside
    except (KeyError, TypeError, AttributeError) as error:
        raise HarnessError(f"{folder / SETTING}: not such a setting ({error})") from None


def read_values(folder: Path, names: Sequence[str], file: str = SETTING) -> dict[str, Any]:
    """The values of those names in the setting that tuning chose, or in another JSON file."""
    setting = read_json(folder / file)
    for name in names:
        if not isinstance(setting, dict) or name not in setting:
            raise HarnessError(f"{folder / file}: no '{name}', expected {', '.join(names)}")
    return {name: setting[name] for name in names}


def check_tree_settings(
    name: str,
    drafts: Sequence[int],
    policies: Sequence[str] = ("static",),
    known: Sequence[str] = POLICIES,
) -> None:
    """Refuse settings that name no tree, or a policy that is not ``known``."""
    check_options(name, "policies", policies, known)
    if not drafts or min(drafts) < 1:
        raise HarnessError(f"methods.{name}.drafts: {list(drafts)}, expected sizes >= 1")


def check_options(name: str, key: str, values: Sequence[str], allowed: Sequence[str]) -> None:
    """Refuse an empty list and values that are not among ``allowed``."""
    if not values:
        raise HarnessError(f"methods.{name}.{key}: empty, expected {' or '.join(allowed)}")
    for value in values:
        if value not in allowed:
            raise HarnessError(f"methods.{name}.{key}: '{value}', expected {' or '.join(allowed)}")


def write_accuracies(path: Path, traces: Sequence[Trace], steps: int) -> None:
    """Share of positions at which the answer's token has rank r at step k."""
    with replacing(path) as temporary, temporary.open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["step", "rank", "share", "positions"])
        for step in range(steps):
            found = [row[step] for trace in traces for row in trace if len(row) > step]
            for rank in range(RANKS):
                share = sum(r == rank for r in found) / max(1, len(found))
                rows.writerow([step + 1, rank, round(share, 6), len(found)])
