"""Figures drawn from kept tables."""

from pathlib import Path

import numpy as np
import pytest

from harness.presentation.figures import _question_speedup, save_svg, use_style

KEPT = Path(__file__).parents[2] / "results/reference/mini"


def drawn(file: Path) -> bytes:
    use_style()
    figure = _question_speedup(KEPT)
    assert figure is not None
    save_svg(figure, file)
    return file.read_bytes()


def test_equal_tables_give_equal_figures(tmp_path: Path) -> None:
    assert drawn(tmp_path / "a.svg") == drawn(tmp_path / "b.svg")


def test_control_points_scattered_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(np.random, "seed", lambda _: None)
    assert drawn(tmp_path / "a.svg") != drawn(tmp_path / "b.svg")
