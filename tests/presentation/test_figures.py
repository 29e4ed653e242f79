"""Figures drawn from kept tables: reproducible, legible, and one colour a method."""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure

from harness.experiment.folder import Folder
from harness.presentation import draft_figures, speed_figures
from harness.presentation.figures import coverage
from harness.presentation.style import (
    COLOURS,
    FULL,
    HALF,
    NEUTRAL,
    TEXT_SIZE,
    colours,
    save_svg,
    use_style,
)
from harness.presentation.wording import NAMES
from methods import METHODS

ROOT = Path(__file__).parents[2]
KEPT = Folder(ROOT / "results/reference/mini")
TEMPLATE = (ROOT / "workflows/report.typ").read_text()
MTBENCH = {"dataset": "mtbench"}
FIGURES: dict[str, Callable[[Folder], Figure | None]] = {
    "speedup": speed_figures.speedup,
    "speedup_mtbench": partial(speed_figures.speedup, **MTBENCH),
    "question_speedup_mtbench": partial(speed_figures.question_speedup, **MTBENCH),
    "acceptance_mtbench": partial(draft_figures.acceptance, **MTBENCH),
    "phases": speed_figures.phases,
    "cost": speed_figures.cost,
    "draft_sizes": draft_figures.draft_sizes,
    "rank_accuracy": draft_figures.rank_accuracy,
    "cosine": draft_figures.cosine,
    "training": draft_figures.training,
    "entry_layers": draft_figures.entry_layers,
    "training_lengths": draft_figures.training_lengths,
    "coverage": coverage,
}


def drawn(name: str, file: Path) -> str:
    use_style()
    figure = FIGURES[name](KEPT)
    assert figure is not None
    save_svg(figure, file)
    return file.read_text()


def smallest_text(svg: str) -> float:
    """Points, on a page on which the figure is as wide as its column."""
    width = float(re.search(r'width="([\d.]+)pt"', svg)[1]) / 72
    column = FULL if width > HALF * 1.01 else HALF
    glyphs = [float(scale) for scale in re.findall(r"scale\((\d[\d.]*) -", svg)]
    assert glyphs
    return 100 * min(glyphs) * column / width


@pytest.mark.parametrize("name", FIGURES)
def test_text_in_figures_is_as_large_as_in_captions(name: str, tmp_path: Path) -> None:
    # sub- and superscripts of mathematical text would be smaller; there are none
    assert smallest_text(drawn(name, tmp_path / "a.svg")) >= TEXT_SIZE * 0.999


def test_control_smaller_text_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.presentation.style.TEXT_SIZE", TEXT_SIZE - 1)
    assert smallest_text(drawn("cost", tmp_path / "a.svg")) == pytest.approx(TEXT_SIZE - 1)


def test_the_page_s_columns_are_as_wide_as_figures_are_drawn() -> None:
    assert "show figure.caption: set text(size: data.text_size * 1pt)" in TEMPLATE
    margin = float(re.search(r'paper: "a4", margin: \(x: ([\d.]+)cm', TEMPLATE)[1])
    gutter = float(re.search(r"column-gutter: ([\d.]+)cm", TEMPLATE)[1])
    text = 21.0 - 2 * margin
    assert text / 2.54 == pytest.approx(FULL)
    assert (text - gutter) / 2 / 2.54 == pytest.approx(HALF)


def test_equal_tables_give_equal_figures(tmp_path: Path) -> None:
    name = "question_speedup_mtbench"
    assert drawn(name, tmp_path / "a.svg") == drawn(name, tmp_path / "b.svg")


def test_control_points_scattered_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, seeded = "question_speedup_mtbench", np.random.default_rng
    first = drawn(name, tmp_path / "a.svg")
    monkeypatch.setattr(np.random, "default_rng", lambda _: seeded())
    assert drawn(name, tmp_path / "b.svg") != first


@pytest.mark.parametrize(
    "name", ["speedup", "speedup_mtbench", "question_speedup_mtbench", "acceptance_mtbench"]
)
def test_a_method_has_its_colour_in_every_figure(name: str, tmp_path: Path) -> None:
    svg = drawn(name, tmp_path / "a.svg")
    for method in ("firp", "medusa", "lookahead"):
        assert COLOURS[method] in svg


@pytest.mark.parametrize(
    "name", ["phases", "training", "coverage", "cost", "cosine", "entry_layers"]
)
def test_what_is_no_method_has_no_method_s_colour(name: str, tmp_path: Path) -> None:
    svg = drawn(name, tmp_path / "a.svg")
    assert not [method for method, colour in COLOURS.items() if f": {colour}" in svg]


def test_every_method_has_a_name_and_a_colour_of_its_own() -> None:
    assert set(METHODS) <= set(NAMES) == set(COLOURS), "variants of the configs have such too"
    assert len({*COLOURS.values(), *NEUTRAL}) == len(COLOURS) + len(NEUTRAL)


def test_a_method_that_the_table_does_not_name_changes_no_other_s_colour() -> None:
    found = colours(["mine", "firp", "yours"])
    assert {method: found[method] for method in COLOURS} == COLOURS
    assert found["mine"] != found["yours"]
    assert all(mpl.colors.is_color_like(colour) for colour in found.values())
