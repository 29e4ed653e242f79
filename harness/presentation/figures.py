"""The figures of an experiment, as SVG with reproducible bytes."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from harness.experiment.folder import Folder
from harness.files import write_json
from harness.presentation import draft_figures, speed_figures
from harness.presentation.style import (
    NEUTRAL,
    figure_of,
    legend_beside,
    panels,
    save_svg,
    use_style,
)

COVERAGE = Path("workflows/resources/coverage.csv")

Draw = Callable[[Folder], Figure | None]


def write_figures(root: Path) -> None:
    """Draw every figure whose table exists; ``figures/done.json`` lists them."""
    use_style()
    drawn = []
    folder = Folder(root)
    for name, draw in _figures(folder.read_json(folder.facts)["experiment"]["datasets"]):
        figure = draw(folder)
        if figure is None:
            continue
        save_svg(figure, folder.figure(name))
        drawn.append(name)
    write_json(folder.drawn, drawn)


def coverage(folder: Folder) -> Figure | None:
    """How often 95 % intervals hold the true speedup of synthetic rows: this project's intervals
    beside the usual ones, which bootstrap prompts.
    """
    table = pd.read_csv(COVERAGE)
    table = table[table["questions"] == table["questions"].max()]
    axes = panels([f"{count} sessions" for count in sorted(set(table["sessions"]))], 2.6)
    kinds = {"coverage": "sessions and questions (ours)", "naive_coverage": "bootstrap of prompts"}
    for axis, (_, simulated) in zip(axes.values(), table.groupby("sessions"), strict=True):
        for (column, label), colour in zip(kinds.items(), NEUTRAL, strict=False):
            for spread, group in simulated.groupby("question_sd"):
                style = {"color": colour, "marker": "o", "linestyle": "-" if spread else "--"}
                legend = f"{label}, question sd {spread:g}"
                axis.plot(group["session_sd"], group[column], label=legend, **style)
        axis.axhline(0.95, color="black", linewidth=0.8)
        axis.set(xlabel="session sd of the log ratio", ylabel="share that hold the truth")
        axis.set_ylim(0, 1.02)
    legend_beside(axes, columns=2)
    return figure_of(axes)


_OF_A_SET = {
    "speedup": speed_figures.speedup,
    "question_speedup": speed_figures.question_speedup,
    "acceptance": draft_figures.acceptance,
}
_OF_ALL: dict[str, Draw] = {
    "speedup": speed_figures.speedup,
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


def _figures(datasets: dict[str, object]) -> Iterator[tuple[str, Draw]]:
    """The name of each figure's file and the function that draws it."""
    yield from _OF_ALL.items()
    for kind, draw in _OF_A_SET.items():
        for dataset in datasets:
            yield f"{kind}_{dataset}", partial(draw, dataset=dataset)
