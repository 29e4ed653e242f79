"""Fixed trees: the 63-node templates published upstream, and the package's Cartesian one."""

import itertools
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import HarnessError
from methods.shared.choices import MOST_DRAFTS, TreeChoice
from methods.shared.trees import RankPath


def _read(file: Path) -> dict[str, tuple[RankPath, ...]]:
    """Trees by name. A name starts a line; the indented lines below it hold its paths, one digit
    per rank.
    """
    trees: dict[str, list[RankPath]] = {}
    for line in file.read_text().splitlines():
        if line.startswith("#"):
            continue
        if not line.startswith(" "):
            paths = trees.setdefault(line.strip(), [])
        else:
            paths += [tuple(map(int, word)) for word in line.split()]
    return {name: tuple(paths) for name, paths in trees.items()}


TEMPLATES = _read(Path(__file__).with_name("templates.txt"))


def template(name: str, heads: int) -> TreeChoice:
    """A published tree, without the nodes that ``heads`` heads do not reach."""
    paths = tuple(path for path in TEMPLATES[name] if len(path) <= heads)
    return TreeChoice("static", len(paths), max(map(len, paths)), paths)


def cartesian(widths: Sequence[int]) -> TreeChoice:
    """Every combination of the best ``widths[d]`` tokens of head d: the package's kind of tree.

    The package's ``medusa_choices=[1, 7, 6]`` is ``widths`` (7, 6): 7 + 42 drafts.
    """
    if not widths or min(widths) < 1:
        raise HarnessError(f"medusa widths: {list(widths)}, expected numbers >= 1, one per head")
    drafts = sum(itertools.accumulate(widths, operator.mul))
    if drafts > MOST_DRAFTS:
        raise HarnessError(
            f"medusa widths: {list(widths)} make {drafts} drafts, expected at most {MOST_DRAFTS}"
        )
    paths: list[RankPath] = []
    for depth in range(1, len(widths) + 1):
        paths += itertools.product(*(range(width) for width in widths[:depth]))
    return TreeChoice("static", len(paths), len(widths), tuple(paths))


@dataclass(frozen=True, slots=True)
class CartesianSettings:
    """``widths``: best tokens of each head, all combined; the package's default is (7, 6)."""

    widths: tuple[int, ...] = (7, 6)

    def __post_init__(self) -> None:
        cartesian(self.widths)
