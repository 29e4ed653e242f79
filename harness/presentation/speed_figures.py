"""Figures of speed: how many times as fast, on which questions, and where a step's time goes."""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from harness.datasets import shown_name
from harness.experiment.folder import Folder
from harness.experiment.records import PHASES
from harness.presentation.style import (
    NEUTRAL,
    colours,
    figure_of,
    label_below,
    legend_beside,
    model_panels,
    name_bars,
    ordered,
    panels,
)
from harness.presentation.wording import name_of

_BAR = 0.2  # inches of height of a bar
_ROOM = 0.55  # inches for the axis below the bars
_JITTER = 0.28


def speedup(folder: Folder, dataset: str | None = None) -> Figure | None:
    """Speedup over autoregressive decoding with 95 % intervals; of one data set or of all."""
    table = folder.read_csv(folder.table("summary"))
    table = table[table["method"] != "autoregressive"].dropna(subset=["speedup"])
    return _bars(_with_panels(table, dataset))


def _with_panels(table: pd.DataFrame, dataset: str | None) -> pd.DataFrame:
    """The lines of a data set, or of all, with the panel that each belongs to as a column."""
    if dataset is not None:
        return table[table["dataset"] == dataset].assign(panel=lambda t: t["model"])
    names = table["dataset"].map(shown_name)
    return table.assign(
        panel=names if table["model"].nunique() == 1 else table["model"] + "\n" + names
    )


def _bars(table: pd.DataFrame) -> Figure | None:
    if table.empty:
        return None
    methods = ordered(table["method"])
    axes = panels(list(dict.fromkeys(table["panel"])), _ROOM + _BAR * len(methods))
    for name, axis in axes.items():
        arms = table[table["panel"] == name].set_index("method").reindex(methods)
        _speedup_bars(axis, arms)
    label_below(axes, "times as fast as autoregressive decoding")
    name_bars(axes, list(map(name_of, methods)))
    return figure_of(axes)


def _speedup_bars(axis: plt.Axes, arms: pd.DataFrame) -> None:
    """Draw a bar for each method with its interval, and the number at its end."""
    low = (arms["speedup"] - arms["speedup_ci_low"]).fillna(0)
    high = (arms["speedup_ci_high"] - arms["speedup"]).fillna(0)
    shades = [colours(arms.index)[method] for method in arms.index]
    style = {"ecolor": "black", "error_kw": {"elinewidth": 0.9, "capsize": 2.5}}
    axis.barh(
        range(len(arms)), arms["speedup"], height=0.72, xerr=[low, high], color=shades, **style
    )
    for place, (value, above) in enumerate(zip(arms["speedup"], high, strict=True)):
        if not pd.isna(value):
            axis.annotate(
                f"{value:.2f}",
                (value + above, place),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
            )
    axis.axvline(1.0, color="black", linewidth=0.8)
    axis.margins(x=0.14)
    axis.grid(visible=False, axis="y")


def question_speedup(folder: Folder, dataset: str) -> Figure | None:
    """The speedup of every question, and each arm's median."""
    table = folder.read_csv(folder.table("question_speedup"))
    table = table[table["dataset"] == dataset]
    if table.empty:
        return None
    methods = ordered(table["arm"])
    axes = panels(list(dict.fromkeys(table["model"])), _ROOM + _BAR * len(methods))
    for model, axis in axes.items():
        random = np.random.default_rng(0)  # points are scattered alike in every drawing
        for place, method in enumerate(methods):
            ratios = table[(table["model"] == model) & (table["arm"] == method)]["speedup"]
            height = place + random.uniform(-_JITTER, _JITTER, len(ratios))
            axis.scatter(ratios, height, s=6, color=colours(methods)[method], linewidths=0)
            if len(ratios):
                axis.plot([ratios.median()] * 2, [place - 0.38, place + 0.38], "k-", linewidth=1.2)
        axis.axvline(1.0, color="black", linewidth=0.8)
    label_below(axes, "times as fast as autoregressive decoding, a dot a question")
    name_bars(axes, list(map(name_of, methods)))
    return figure_of(axes)


def phases(folder: Folder) -> Figure | None:
    """Milliseconds of a decode step by phase; in one piece for arms outside the engine."""
    table = folder.read_csv(folder.table("phases"))
    if table.empty:
        return None
    table = table.assign(whole_ms=table["timed_ms"].where(table["forward_ms"].isna()))
    methods = ordered(table["method"])
    height = _ROOM + 0.3 + _BAR * len(methods)
    axes = panels(list(dict.fromkeys(table["model"])), height)
    for model, axis in axes.items():
        _phase_bars(axis, table[table["model"] == model].set_index("method").reindex(methods))
    name_bars(axes, list(map(name_of, methods)))
    label_below(axes, "milliseconds a decode step")
    legend_beside(axes, columns=4)
    return figure_of(axes)


def _phase_bars(axis: plt.Axes, times: pd.DataFrame) -> None:
    """Draw the phases of each method's step as a stacked bar."""
    parts = [*PHASES, "between", "whole"]
    left = pd.Series(0.0, index=times.index)
    for part, colour in zip(parts, NEUTRAL, strict=False):
        width = times[f"{part}_ms"].fillna(0.0)
        label = {"between": "between phases", "whole": "not split"}.get(part, part)
        axis.barh(range(len(times)), width, left=left, height=0.72, color=colour, label=label)
        left = left + width
    axis.grid(visible=False, axis="y")


def cost(folder: Folder) -> Figure | None:
    """Milliseconds of a forward of the target against its rows, a line per context."""
    table = folder.read_table("cost")
    if table.empty:
        return None
    axes = model_panels(table, 2.3)
    for model, axis in axes.items():
        forwards = table[table["model"] == model]
        shared = {"x": "rows", "y": "forward_ms", "hue": "context", "palette": "viridis"}
        sns.lineplot(forwards, **shared, marker="o", legend="full", ax=axis)
        axis.set(xlabel="rows of the forward", ylabel="milliseconds", ylim=(0, None))
        axis.set_xscale("log", base=2)
        rows = sorted(forwards["rows"].unique())
        axis.set_xticks(rows, rows)
        axis.legend(title="tokens in the cache")
    return figure_of(axes)
