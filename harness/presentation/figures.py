"""The figures of an experiment, as SVG with reproducible bytes."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from harness.analysis.phases import PHASES
from harness.files import read_json, replacing, write_json
from harness.presentation.wording import DATASETS, NAMES, name_of

COVERAGE = Path("workflows/resources/coverage.csv")

mpl.use("svg")

_WIDTH = 3.1
_PALETTE = [*sns.color_palette("colorblind"), *sns.color_palette("dark")]


def write_figures(root: Path) -> None:
    """Draw every figure whose table exists; ``figures/done.json`` lists them."""
    use_style()
    drawn = []
    for name, draw in _FIGURES.items():
        figure = draw(root)
        if figure is None:
            continue
        save_svg(figure, root / "figures" / f"{name}.svg")
        drawn.append(name)
    write_json(root / "figures" / "done.json", drawn)


def use_style() -> None:
    """The look that all figures share."""
    sns.set_theme(style="whitegrid", context="paper", palette="colorblind", font="DejaVu Sans")
    mpl.rcParams["svg.hashsalt"] = "firp-bench"


def save_svg(figure: Figure, path: Path) -> None:
    """Write a figure and close it; equal figures give equal bytes."""
    with replacing(path) as temporary:
        figure.savefig(temporary, format="svg", bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)


def _order(methods: pd.Series) -> list[str]:
    """Methods as readers see them: those of the project first, then others by name."""
    found = set(methods)
    return [*(n for n in NAMES.values() if n in found), *sorted(found - set(NAMES.values()))]


def _colours(methods: pd.Series) -> dict[str, Any]:
    """One colour a method; those of the project have the same in every figure."""
    names = [*NAMES.values(), *_order(methods)]
    distinct = dict.fromkeys(names)
    return dict(zip(distinct, itertools.cycle(_PALETTE), strict=False))


def _panels(values: list[str], bars: int = 0) -> tuple[Figure, dict[str, plt.Axes]]:
    """One panel a value, side by side, sharing the y axis; as high as its ``bars`` need."""
    size = (_WIDTH * max(2, len(values)), max(2.7, 0.8 + 0.28 * bars))
    figure, axes = plt.subplots(1, len(values), figsize=size, sharey=True, squeeze=False)
    for axis, value in zip(axes[0], values, strict=True):
        axis.set_title(value)
    return figure, dict(zip(values, axes[0], strict=True))


def _model_panels(table: pd.DataFrame) -> tuple[Figure, dict[str, plt.Axes]]:
    """One panel a model; a single one is drawn to share a line with another figure."""
    models = list(dict.fromkeys(table["model"]))
    figure, panels = _panels(models)
    if len(models) == 1:
        figure.set_size_inches(1.35 * _WIDTH, 2.9)
    return figure, panels


def _with_names(table: pd.DataFrame, column: str = "method") -> pd.DataFrame:
    return table.assign(
        method=table[column].map(name_of),
        cell=table["model"] + ", " + table["dataset"].map(DATASETS),
    )


def _speedup(root: Path) -> Figure | None:
    """Speedup over autoregressive decoding with 95 % intervals."""
    table = _with_names(pd.read_csv(root / "tables" / "summary.csv"))
    table = table[table["method"] != "autoregressive"].dropna(subset=["speedup"])
    if table.empty:
        return None
    arms = table["method"].nunique()
    figure, panels = _panels(list(dict.fromkeys(table["cell"])), arms)
    for cell, axis in panels.items():
        mine = table[table["cell"] == cell]
        places = range(len(mine))
        low = (mine["speedup"] - mine["speedup_ci_low"]).fillna(0)
        high = (mine["speedup_ci_high"] - mine["speedup"]).fillna(0)
        colours = [_colours(table["method"])[name] for name in mine["method"]]
        axis.barh(places, mine["speedup"], xerr=[low, high], color=colours, capsize=3)
        axis.axvline(1.0, color="black", linewidth=0.8)
        axis.set_yticks(places, mine["method"])
        axis.invert_yaxis()
        axis.set_xlabel("speedup over autoregressive")
    # Shared axes are inverted together, so an even number of calls would cancel out.
    next(iter(panels.values())).set_ylim(bottom=arms - 0.5, top=-0.5)
    return figure


def _question_speedup(root: Path) -> Figure | None:
    """How speedup is spread over questions."""
    table = pd.read_csv(root / "tables" / "question_speedup.csv")
    if table.empty:
        return None
    table = _with_names(table, "arm")
    figure, panels = _panels(list(dict.fromkeys(table["cell"])), table["method"].nunique())
    for cell, axis in panels.items():
        mine = table[table["cell"] == cell]
        order = _order(mine["method"])
        shared = {"data": mine, "x": "speedup", "y": "method", "order": order, "ax": axis}
        sns.boxplot(**shared, color="0.9", fliersize=0)
        colours = _colours(table["method"])
        np.random.seed(0)  # seaborn scatters the points by the global generator
        sns.stripplot(**shared, size=2.5, hue="method", palette=colours, legend=False)
        axis.axvline(1.0, color="black", linewidth=0.8)
        axis.set(xlabel="speedup of a question", ylabel="")
    return figure


def _phases(root: Path) -> Figure | None:
    """Milliseconds of a decode step by phase; in one piece outside the engine."""
    table = pd.read_csv(root / "tables" / "phases.csv")
    if table.empty:
        return None
    table = table.assign(
        method=table["method"].map(name_of),
        whole_ms=table["timed_ms"].where(table["forward_ms"].isna()),
    )
    parts = [*PHASES, "between", "whole"]
    figure, panels = _panels(list(dict.fromkeys(table["model"])), table["method"].nunique())
    for model, axis in panels.items():
        mine = table[table["model"] == model].set_index("method")
        mine = mine.loc[_order(mine.index.to_series())]
        left = pd.Series(0.0, index=mine.index)
        for part, colour in zip(parts, sns.color_palette("colorblind"), strict=False):
            width = mine[f"{part}_ms"].fillna(0.0)
            label = {"between": "between phases", "whole": "not split"}.get(part, part)
            axis.barh(mine.index, width, left=left, color=colour, label=label)
            left = left + width
        axis.set_xlabel("milliseconds a decode step")
    next(iter(panels.values())).invert_yaxis()
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", bbox_to_anchor=(0.5, -0.09), ncols=7)
    return figure


def _cost(root: Path) -> Figure | None:
    """Milliseconds of a forward of the target against its rows, a line per context."""
    file = root / "tables" / "cost.csv"
    if not file.is_file():
        return None
    table = pd.read_csv(file)
    figure, panels = _panels(list(dict.fromkeys(table["model"])))
    for model, axis in panels.items():
        mine = table[table["model"] == model]
        shared = {"x": "rows", "y": "forward_ms", "hue": "context", "palette": "viridis"}
        sns.lineplot(mine, **shared, marker="o", legend="full", ax=axis)
        axis.set(xlabel="rows of the forward", ylabel="milliseconds", ylim=(0, None))
        axis.set_xscale("log", base=2)
        rows = sorted(mine["rows"].unique())
        axis.set_xticks(rows, rows)
        axis.legend(title="tokens in the cache", fontsize=7)
    return figure


def _acceptance(root: Path) -> Figure | None:
    """Share of steps whose accepted path reaches each depth."""
    table = pd.read_csv(root / "tables" / "acceptance_by_depth.csv")
    if table.empty:
        return None
    table = _with_names(table, "arm")
    if table["method"].nunique() > 1:
        return _acceptance_of_methods(table)
    figure, panels = _panels(["any step (unconditional)", "depth before reached (conditional)"])
    for axis, column in zip(panels.values(), ("unconditional", "conditional"), strict=True):
        sns.lineplot(table, x="depth", y=column, hue="cell", marker="o", ax=axis)
        axis.set(xlabel="depth in the draft tree", ylabel="share of steps accepted", ylim=(0, 1))
        axis.set_xticks(sorted(table["depth"].unique()))
        axis.legend(fontsize=7, title=None)
    return figure


def _acceptance_of_methods(table: pd.DataFrame) -> Figure:
    """One panel a data set, a line a method: the share of all steps that reaches each depth."""
    figure, panels = _panels(list(dict.fromkeys(table["cell"])))
    for cell, axis in panels.items():
        mine = table[table["cell"] == cell]
        colours = _colours(table["method"])
        shared = {"x": "depth", "y": "unconditional", "hue": "method", "palette": colours}
        sns.lineplot(mine, **shared, marker="o", markersize=3.5, ax=axis)
        for method, line in mine.groupby("method"):
            band = (line["depth"], line["unconditional_low"], line["unconditional_high"])
            axis.fill_between(*band, color=colours[str(method)], alpha=0.15, linewidth=0)
        axis.set(xlabel="depth in the draft tree", ylabel="share of steps accepted", ylim=(0, 1))
        axis.get_legend().remove()
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", bbox_to_anchor=(0.5, -0.36), ncols=4)
    return figure


def _method_files(root: Path, name: str) -> pd.DataFrame | None:
    """A CSV of FIRP's training or tuning over the tables' models, with a model column."""
    models = read_json(root / "tables" / "facts.json")["experiment"]["models"]
    files = {model: root / "methods" / model / "firp" / name for model in models}
    found = [
        pd.read_csv(file).assign(model=model) for model, file in files.items() if file.is_file()
    ]
    return pd.concat(found) if found else None


def _draft_sizes(root: Path) -> Figure | None:
    """Acceptance length and speedup of calibrated trees against their number of draft tokens."""
    file = root / "tables" / "draft_size_curve.csv"
    if not file.is_file():
        return None
    table = pd.read_csv(file)
    table["method"] = table["method"].map(name_of)
    figure, axes = plt.subplots(1, 2, figsize=(2 * _WIDTH, 2.7))
    measured = table.dropna(subset=["speedup"])
    sizes = sorted(measured["draft_size"].unique())
    shared = {"x": "draft_size", "hue": "method", "palette": _colours(table["method"])}
    style = "model" if table["model"].nunique() > 1 else None
    length = {"y": "predicted_acceptance_length", "style": style, "ax": axes[0]}
    sns.lineplot(table, **length, **shared)
    sns.scatterplot(
        measured, y="acceptance_length", style=style, ax=axes[0], legend=False, **shared
    )
    sns.lineplot(measured, y="speedup", marker="o", style=style, ax=axes[1], **shared)
    axes[0].set(xlabel="draft tokens a step", ylabel="acceptance length")
    axes[1].set(xlabel="draft tokens a step", ylabel="speedup over autoregressive")
    axes[1].axhline(1.0, color="black", linewidth=0.8)
    for axis in axes:
        axis.set_xscale("log", base=2)
        axis.set_xticks(sizes, sizes)
        axis.legend(fontsize=7, title=None)
    figure.tight_layout()
    return figure


def _rank_accuracy(root: Path) -> Figure | None:
    """How often the answer's token has rank r at step k, tune split, cumulated over ranks."""
    table = _method_files(root, "rank_accuracy.csv")
    if table is None:
        return None
    table["among"] = table.groupby(["model", "step"])["share"].cumsum()
    figure, panels = _model_panels(table)
    for model, axis in panels.items():
        mine = table[table["model"] == model].assign(best=lambda t: t["rank"] + 1)
        sns.lineplot(mine, x="best", y="among", hue="step", marker="o", ax=axis, palette="viridis")
        axis.set(xlabel="among the best r tokens", ylabel="share of positions", ylim=(0, 1.02))
        axis.legend(title="FIRP step", fontsize=7)
    return figure


def _cosine(root: Path) -> Figure | None:
    """Similarity of pseudo and real hidden states after each layer, tune split."""
    table = _method_files(root, "cosine.csv")
    if table is None:
        return None
    figure, panels = _model_panels(table)
    for model, axis in panels.items():
        mine = table[table["model"] == model]
        sns.lineplot(
            mine, x="layer", y="cosine", hue="step", marker="o", ax=axis, palette="viridis"
        )
        axis.set(xlabel="after layer", ylabel="cosine similarity to the real state")
        axis.set_xticks(sorted(mine["layer"].unique()))
        axis.legend(title="FIRP step", fontsize=7)
    return figure


def _training(root: Path) -> Figure | None:
    """Loss and top-1 / top-5 accuracy on the tune split while training."""
    table = _method_files(root, "curves.csv")
    if table is None:
        return None
    models = list(dict.fromkeys(table["model"]))
    figure, axes = plt.subplots(
        len(models), 2, figsize=(2 * _WIDTH, 2.6 * len(models)), squeeze=False
    )
    for (left, right), model in zip(axes, models, strict=True):
        mine = table[table["model"] == model]
        left.plot(mine["step"], mine["train_loss"], label="train batch")
        left.plot(mine["step"], mine["tune_loss"], marker="o", label="tune split")
        left.set(xlabel="training step", ylabel="KL, nats per position", title=model)
        left.legend(fontsize=7)
        steps = [c.removeprefix("top1_step") for c in mine if c.startswith("top1_step")]
        for colour, step in zip(sns.color_palette("viridis", len(steps)), steps, strict=True):
            for kind, style in (("top1", "-"), ("top5", "--")):
                label = f"step {step}, {kind}"
                values = mine[f"{kind}_step{step}"]
                right.plot(mine["step"], values, style, color=colour, label=label)
        right.set(
            xlabel="training step", ylabel="accuracy, tune split", ylim=(0, 1.02), title=model
        )
        right.legend(fontsize=6, ncols=2)
    figure.tight_layout()
    return figure


def _coverage(root: Path) -> Figure | None:
    """How often 95 % intervals hold the truth of synthetic rows, ours beside the usual one."""
    table = pd.read_csv(COVERAGE)
    table = table[table["questions"] == table["questions"].max()]
    figure, panels = _panels([f"{count} sessions" for count in sorted(set(table["sessions"]))])
    kinds = {"coverage": "sessions and questions (ours)", "naive_coverage": "bootstrap of prompts"}
    for axis, (_, mine) in zip(panels.values(), table.groupby("sessions"), strict=True):
        for (column, label), colour in zip(
            kinds.items(), sns.color_palette("colorblind"), strict=False
        ):
            for spread, group in mine.groupby("question_sd"):
                style = {"color": colour, "marker": "o", "linestyle": "-" if spread else "--"}
                told = f"{label}, question sd {spread:g}"
                axis.plot(group["session_sd"], group[column], label=told, **style)
        axis.axhline(0.95, color="black", linewidth=0.8)
        axis.set(xlabel="session sd of the log ratio", ylabel="share that hold the truth")
        axis.set_ylim(0, 1.02)
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", bbox_to_anchor=(0.5, -0.22), ncols=2)
    return figure


_FIGURES: dict[str, Callable[[Path], Figure | None]] = {
    "speedup": _speedup,
    "question_speedup": _question_speedup,
    "phases": _phases,
    "cost": _cost,
    "acceptance": _acceptance,
    "draft_sizes": _draft_sizes,
    "rank_accuracy": _rank_accuracy,
    "cosine": _cosine,
    "training": _training,
    "coverage": _coverage,
}
