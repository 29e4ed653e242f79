"""The choice of a draft tree, and the acceptance length that rank traces foretell for it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from harness.errors import HarnessError
from harness.files import checked, read_json, write_csv
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
CONDITIONED = ("static", "dynamic")  # policies of methods whose drafts depend on those before them
# Settings of heads: their training loss, and whose vocabulary matrix they read.
LOSSES, HEADS = ("cross_entropy", "kl"), ("own", "shared")
RANKS = 10  # in the table of accuracies
MOST_DRAFTS = 1024  # of a tree


@dataclass(frozen=True, slots=True)
class TreeChoice:
    """A tree of ``drafts`` nodes beside the root, down to ``depth``; ``paths`` if it is static."""

    policy: Literal["static", "best_first", "dynamic"]
    drafts: Annotated[int, Field(ge=0, le=MOST_DRAFTS)]
    depth: Annotated[int, Field(ge=0, le=64)]
    paths: tuple[tuple[Annotated[int, Field(ge=0, le=1024)], ...], ...] = ()

    def build(self) -> TreePolicy:
        """The policy that drafts this tree, all of it at once; a dynamic tree has none."""
        if self.policy == "static":
            return StaticTree(self.paths)
        if self.policy == "best_first":
            return BestFirstTree(self.drafts, self.depth)
        raise HarnessError(f"policy '{self.policy}': expected {' or '.join(POLICIES)} here")

    def as_setting(self) -> dict[str, Any]:
        """Plain values for ``setting.json``."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Traced:
    """How a method would have drafted on the tune answers, found without decoding: the ``ranks`` of
    the answers' tokens, and the ``places`` at which best-first trees reach them.
    """

    ranks: Sequence[Trace]
    places: Sequence[Trace]

    def acceptance_length(self, choice: TreeChoice) -> float | None:
        """Tokens per step with that tree; None for a dynamic one, which only decoding can tell."""
        if choice.policy == "dynamic":
            return None
        if choice.policy == "static":
            return replay(self.ranks, choice.paths).acceptance_length
        return replay_best_first(self.places, choice.drafts).acceptance_length


def tree_choices(
    traces: Sequence[Trace], policies: Sequence[str], sizes: Sequence[int], steps: int
) -> list[TreeChoice]:
    """A tree of every policy and size, down to ``steps``. Static trees are grown from ``traces``;
    they are smaller than asked for where the traces hold fewer paths.
    """
    choices = []
    for drafts in sizes:
        if "static" in policies:
            paths = tuple(grow(traces, drafts, steps))
            depth = max((len(path) for path in paths), default=0)
            choices.append(TreeChoice("static", len(paths), depth, paths))
        if "best_first" in policies:
            choices.append(TreeChoice("best_first", drafts, min(drafts, steps)))
        if "dynamic" in policies:
            choices.append(TreeChoice("dynamic", drafts, min(drafts, steps)))
    return [choice for choice in choices if choice.depth > 0]


def read_setting(folder: Path, extra: Sequence[str] = ()) -> tuple[TreeChoice, dict[str, Any]]:
    """The tree that tuning chose, and the values of the setting that ``extra`` names."""
    setting = read_json(folder / SETTING)
    try:
        values = {name: setting.pop(name) for name in extra}
        return checked(TreeChoice, setting, str(folder / SETTING), strict=False), values
    except (KeyError, TypeError, AttributeError) as error:
        raise HarnessError(f"{folder / SETTING}: not such a setting ({error})") from None


def read_values(folder: Path, names: Sequence[str], file: str = SETTING) -> dict[str, Any]:
    """The values called ``names`` in the setting that tuning chose, or in another JSON file."""
    setting = read_json(folder / file)
    for name in names:
        if not isinstance(setting, dict) or name not in setting:
            raise HarnessError(f"{folder / file}: no '{name}', expected {', '.join(names)}")
    return {name: setting[name] for name in names}


def check_tree_settings(
    name: str,
    drafts: Sequence[int],
    policies: Sequence[str] = ("static",),
    allowed: Sequence[str] = POLICIES,
) -> None:
    """Refuse settings without a tree size or a policy, and policies that are not ``allowed``."""
    check_options(name, "policies", policies, allowed)
    check_sizes(name, "drafts", drafts)


def check_sizes(name: str, key: str, values: Sequence[int], most: int | None = None) -> None:
    """Refuse an empty list of numbers, and numbers below 1 or above ``most``."""
    if not values or min(values) < 1 or (most is not None and max(values) > most):
        upper = "" if most is None else f" and <= {most}"
        raise HarnessError(f"methods.{name}.{key}: {list(values)}, expected numbers >= 1{upper}")


def check_options(name: str, key: str, values: Sequence[str], allowed: Sequence[str]) -> None:
    """Refuse an empty list and values that are not among ``allowed``."""
    if not values:
        raise HarnessError(f"methods.{name}.{key}: empty, expected {' or '.join(allowed)}")
    for value in values:
        if value not in allowed:
            raise HarnessError(f"methods.{name}.{key}: '{value}', expected {' or '.join(allowed)}")


def write_accuracies(path: Path, traces: Sequence[Trace], steps: int) -> None:
    """Write the share of positions at which the answer's token has rank r at step k."""
    lines = []
    for step in range(steps):
        step_ranks = [row[step] for trace in traces for row in trace if len(row) > step]
        for rank in range(RANKS):
            share = sum(r == rank for r in step_ranks) / max(1, len(step_ranks))
            lines.append([step + 1, rank, round(share, 6), len(step_ranks)])
    write_csv(path, ["step", "rank", "share", "positions"], lines)
