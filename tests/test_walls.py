"""Who may import whom: the engine knows no files, what comes after measuring knows no torch."""

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

from harness.__main__ import COMMANDS, MODULES
from tests import ROOT

Graph = dict[str, set[str]]
# Rooms that run without torch, so that tables and reports are made anywhere.
WITHOUT_TORCH = (
    "harness.analysis",
    "harness.presentation",
    "harness.published",
    "harness.datasets",
    "harness.experiment",
)
# Where the harness looks methods up by name, builds parts of FIRP to time a step of it, or checks
# published trees.
KNOW_METHODS = {
    "harness.experiment.arms",
    "harness.commands.check_trees",
    "harness.commands.curve",
    "harness.enginebench.arms",
}
# What the engine is made of: itself, and plain modules beside it.
BELOW_THE_ENGINE = {"harness.decoder", "harness.errors"}


def modules() -> Iterator[tuple[str, Path]]:
    for package in ("harness", "methods"):
        for file in sorted((ROOT / package).rglob("*.py")):
            parts = file.relative_to(ROOT).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), file


def _imported(tree: ast.AST, whole: bool) -> Iterator[str]:
    """Modules named by import statements: all, or those that run when the module is imported."""
    for node in ast.walk(tree) if whole else _outside_functions(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _outside_functions(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        typing_only = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test)
        if not isinstance(child, ast.FunctionDef) and not typing_only:
            yield child
            yield from _outside_functions(child)


def graph(whole: bool) -> Graph:
    """Own modules that each imports, and ``torch`` where it does."""
    files = dict(modules())
    found = {}
    for name, file in files.items():
        names = set(_imported(ast.parse(file.read_text()), whole))
        torch = {"torch"} if any(one.split(".")[0] == "torch" for one in names) else set()
        found[name] = (names & files.keys() | torch) - {name}
    return found


def reached(links: Graph, start: str) -> set[str]:
    """All that a module imports, directly or not."""
    seen: set[str] = set()
    ahead = [start]
    while ahead:
        for name in links.get(ahead.pop(), set()) - seen:
            seen.add(name)
            ahead.append(name)
    return seen


def with_torch(links: Graph, rooms: Iterable[str]) -> list[str]:
    return [
        name for name in links if name.startswith(tuple(rooms)) and "torch" in reached(links, name)
    ]


def in_a_cycle(links: Graph) -> list[str]:
    return [name for name in links if name in reached(links, name)]


def test_tables_and_reports_need_no_torch() -> None:
    assert with_torch(graph(whole=False), WITHOUT_TORCH) == []


def test_nothing_imports_itself_in_a_circle() -> None:
    assert in_a_cycle(graph(whole=False)) == []


def test_methods_are_known_where_they_are_looked_up() -> None:
    links = graph(whole=True)
    knowing = {
        name
        for name, imported in links.items()
        if name.startswith("harness") and any(one.startswith("methods") for one in imported)
    }
    assert knowing == KNOW_METHODS


def of_methods(links: Graph, rooms: Iterable[str]) -> list[str]:
    return [
        name
        for name in links
        if name.startswith(tuple(rooms))
        and any(one.split(".")[0] == "methods" for one in reached(links, name))
    ]


def test_kept_rows_are_analysed_without_today_s_methods() -> None:
    links = graph(whole=True)
    assert of_methods(links, ("harness.analysis", "harness.presentation")) == []
    assert of_methods(links, ("harness.commands",)), "control: these know them"


def test_every_subcommand_is_a_module_and_named_once() -> None:
    named = {f"harness.commands.{MODULES.get(name, name.replace('-', '_'))}" for name in COMMANDS}
    functions = {
        name: {one.name for one in ast.parse(file.read_text()).body if hasattr(one, "name")}
        for name, file in modules()
        if name.startswith("harness.commands.")
    }
    assert named == {name for name, held in functions.items() if {"arguments", "run"} <= held}
    assert len(named) == len(COMMANDS) > 20


def test_only_the_subcommand_that_is_asked_for_is_imported() -> None:
    links = graph(whole=True)
    assert not {name for name in links["harness.__main__"] if name.startswith("harness.commands")}
    assert "torch" not in reached(links, "harness.__main__")
    without = ("tables", "figures", "report", "page", "summary", "keep", "schema", "stand_in")
    early = graph(whole=False)
    for name in without:
        assert "torch" not in reached(early, f"harness.commands.{name}"), name
    assert "torch" in reached(early, "harness.commands.session"), "control"


def test_the_engine_stands_on_its_own() -> None:
    links = graph(whole=True)
    for name in (name for name in links if name.startswith("harness.engine.")):
        own = {one for one in links[name] if one != "torch"}
        assert {one for one in own if not one.startswith("harness.engine")} <= BELOW_THE_ENGINE, (
            name
        )


def longest_chain(links: Graph) -> int:
    """Modules on the longest way of imports; there are no circles."""
    known: dict[str, int] = {}

    def below(name: str) -> int:
        if name not in known:
            known[name] = 1 + max(map(below, links.get(name, set()) - {"torch"}), default=0)
        return known[name]

    return max(map(below, links))


def test_imports_grow_no_denser_than_they_are() -> None:
    links = graph(whole=True)
    own = [len(imported - {"torch"}) for imported in links.values()]
    assert sum(own) / len(own) <= 4
    assert longest_chain(links) <= 14
    assert longest_chain({"a": {"b", "torch"}, "b": {"c"}, "c": set()}) == 3, "control"


def test_control_wrong_imports_are_seen() -> None:
    links = {
        "harness.analysis.rows": {"harness.files", "harness.engine"},
        "harness.engine": {"torch"},
        "harness.files": {"harness.analysis.rows"},
    }
    assert with_torch(links, WITHOUT_TORCH) == ["harness.analysis.rows"]
    assert in_a_cycle(links) == ["harness.analysis.rows", "harness.files"]
