"""What all figures share: colours of methods, sizes on the page, panels, and how they are saved.

Figures are drawn as wide as they appear on the page, so that their text has the size set here,
which is that of the captions in ``workflows/report.typ``.
"""

import itertools
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import matplotlib as mpl
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from harness.files import replacing
from harness.presentation.wording import NAMES

mpl.use("svg")

TEXT_SIZE = 8.5  # points, in captions and in figures
FULL, HALF = 17 / 2.54, 8.2 / 2.54  # inches: the text's width on A4, and one of two side by side

# One colour per method, in every figure and on the page; related ones are shades of one hue.
COLOURS = {
    "autoregressive": "#3d3d3d",
    "autoregressive_again": "#8f8f8f",
    "hf_generate": "#b9b2a6",
    "firp": "#0067b1",
    "firp_adapters": "#003f7f",
    "firp_parents": "#3a8fd9",
    "hidden_transfer": "#8f9fd6",
    "width_matched": "#7fb8e2",
    "medusa": "#d1480c",
    "medusa_template": "#8a2f07",
    "medusa_cartesian": "#ef8a5b",
    "medusa_llm": "#f5bd9f",
    "medusa_typical": "#b5697f",
    "medusa_shared": "#e8743b",
    "hydra": "#c0267a",
    "hydra_plus": "#84184f",
    "eagle": "#5a3fb0",
    "eagle2": "#9a86dd",
    "chimera": "#6b6f1f",
    "lookahead": "#00916b",
    "self_speculative": "#a65aa8",
    "draft_model": "#4f7d2a",
    "token_recycling": "#2f8f9d",
    "prompt_lookup": "#d99a00",
    "hf_prompt_lookup": "#efcf78",
    "hf_assisted": "#8c6d46",
}
_PANELS = 3  # side by side at most
# Colours for anything but methods, so that a method's colour means that method everywhere.
NEUTRAL = sns.color_palette("Set2").as_hex()
_SPARE = sns.color_palette("husl", 8).as_hex()  # for methods that the table does not name
_SIZES = (
    "font.size axes.labelsize axes.titlesize xtick.labelsize ytick.labelsize legend.fontsize "
    "legend.title_fontsize figure.titlesize"
).split()


def colours(methods: Iterable[str]) -> dict[str, str]:
    """A colour for each of ``methods``; those of the table always have the same one."""
    others = sorted(set(methods) - set(COLOURS))
    return {**COLOURS, **dict(zip(others, itertools.cycle(_SPARE), strict=False))}


def ordered(methods: Iterable[str]) -> list[str]:
    """Methods as readers see them everywhere: those of the project first, then others by name."""
    names = set(methods)
    return [*(method for method in NAMES if method in names), *sorted(names - set(NAMES))]


def use_style() -> None:
    """The look that all figures share."""
    sns.set_theme(style="whitegrid", context="paper", palette="colorblind", font="DejaVu Sans")
    mpl.rcParams.update(dict.fromkeys(_SIZES, TEXT_SIZE))
    mpl.rcParams.update({"svg.hashsalt": "firp-bench", "figure.constrained_layout.use": True})


def save_svg(figure: Figure, path: Path) -> None:
    """Write a figure and close it; equal figures give equal bytes."""
    with replacing(path) as temporary:
        figure.savefig(temporary, format="svg", metadata={"Date": None})
    plt.close(figure)


def panels(names: Sequence[str], height: float, width: float = FULL) -> dict[str, plt.Axes]:
    """One panel per name, at most three side by side, with a shared y axis. ``width`` of all and
    ``height`` of a row of them are in inches. A single panel has no title.
    """
    columns = min(len(names), _PANELS)
    lines = math.ceil(len(names) / columns)
    size = (width, height * lines)
    _, grid = plt.subplots(lines, columns, figsize=size, sharey=True, squeeze=False)
    for spare in grid.flat[len(names) :]:
        spare.remove()
    axes = dict(zip(names, grid.flat, strict=False))
    if len(names) > 1:
        for name, axis in axes.items():
            axis.set_title(name)
    return axes


def model_panels(table: pd.DataFrame, height: float) -> dict[str, plt.Axes]:
    """One panel per model; a figure with a single one shares a line of the page with another."""
    models = list(dict.fromkeys(table["model"]))
    return panels(models, height, HALF if len(models) == 1 else FULL)


def figure_of(axes: dict[str, plt.Axes]) -> Figure:
    """The figure that the panels are in."""
    figure: Figure = next(iter(axes.values())).figure
    return figure


def label_below(axes: dict[str, plt.Axes], text: str) -> None:
    """Label the x axis that all panels share."""
    if len(axes) == 1:
        next(iter(axes.values())).set_xlabel(text)
    else:
        figure_of(axes).supxlabel(text, fontsize=TEXT_SIZE)


def name_bars(axes: dict[str, plt.Axes], names: Sequence[str]) -> None:
    """Names beside horizontal bars, the first on top; panels share the axis."""
    first = next(iter(axes.values()))
    first.set_yticks(range(len(names)), names)
    first.set_ylim(bottom=len(names) - 0.5, top=-0.5)


def legend_beside(axes: dict[str, plt.Axes], columns: int = 0) -> None:
    """One legend for all panels, made of the last one's entries: below them in ``columns``
    columns, or to their right if that is 0.
    """
    handles, labels = list(axes.values())[-1].get_legend_handles_labels()
    place = {"loc": "outside lower center", "ncols": columns} if columns else {}
    figure_of(axes).legend(handles, labels, **{"loc": "outside right center"} | place)
