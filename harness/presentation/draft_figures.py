"""Figures of drafts: how many are accepted, how good they are, and how they were learnt."""

import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from harness.experiment.folder import Folder
from harness.presentation.style import (
    FULL,
    NEUTRAL,
    colours,
    figure_of,
    legend_beside,
    model_panels,
    ordered,
    panels,
)
from harness.presentation.wording import name_of

_POWERS = (1, 2, 4, 8, 16, 32, 64)


def acceptance(folder: Folder, dataset: str) -> Figure | None:
    """Share of the steps on a data set whose accepted path reaches each depth."""
    table = folder.read_csv(folder.table("acceptance_by_depth"))
    table = table[table["dataset"] == dataset]
    if table.empty:
        return None
    methods = ordered(table["arm"])
    axes = panels(list(dict.fromkeys(table["model"])), 2.3)
    for model, axis in axes.items():
        for method in methods:
            line = table[(table["model"] == model) & (table["arm"] == method)]
            colour = colours(methods)[method]
            style = {"color": colour, "marker": "o", "markersize": 3}
            axis.plot(line["depth"], line["unconditional"], label=name_of(method), **style)
            band = (line["depth"], line["unconditional_low"], line["unconditional_high"])
            axis.fill_between(*band, color=colour, alpha=0.15, linewidth=0)
        axis.set(xlabel="depth in the draft tree", ylabel="share of steps", ylim=(0, 1))
    legend_beside(axes, columns=0 if len(axes) == 1 else 4)
    return figure_of(axes)


def draft_sizes(folder: Folder) -> Figure | None:
    """Acceptance length of calibrated trees against their number of draft tokens, and the speedup
    where sizes were timed.
    """
    file = folder.table("draft_size_curve")
    if not file.is_file():
        return None
    table = folder.read_csv(file)
    palette = {name_of(method): shade for method, shade in colours(table["method"]).items()}
    table["method"] = table["method"].map(name_of)
    measured = table.dropna(subset=["speedup"])
    style = "model" if table["model"].nunique() > 1 else None
    shared = {"x": "draft_size", "hue": "method", "palette": palette, "style": style}
    panels_wide = 1 if measured.empty else 2
    figure, axes = plt.subplots(1, panels_wide, figsize=(FULL, 2.4), squeeze=False)
    left, *right = axes[0]
    sns.lineplot(table, y="predicted_acceptance_length", ax=left, **shared)
    left.set(xlabel="draft tokens a step", ylabel="acceptance length")
    for axis in right:
        sns.scatterplot(measured, y="acceptance_length", ax=left, legend=False, **shared)
        sns.lineplot(measured, y="speedup", marker="o", ax=axis, **shared)
        axis.set(xlabel="draft tokens a step", ylabel="times as fast as autoregressive")
        axis.axhline(1.0, color="black", linewidth=0.8)
    sizes = [size for size in _POWERS if size <= table["draft_size"].max()]
    for axis in axes[0]:
        axis.set_xscale("log", base=2)
        axis.set_xticks(sizes, sizes)
        axis.legend(title=None)
    return figure


def _firp_files(folder: Folder, name: str) -> pd.DataFrame | None:
    """A CSV of FIRP's training or tuning over the tables' models, with a model column."""
    models = folder.read_json(folder.facts)["experiment"]["models"]
    files = {model: folder.method(model, "firp", name) for model in models}
    found = [
        folder.read_csv(file).assign(model=model) for model, file in files.items() if file.is_file()
    ]
    return pd.concat(found) if found else None


def rank_accuracy(folder: Folder) -> Figure | None:
    """How often the answer's token has rank r at step k, tune split, cumulated over ranks."""
    table = _firp_files(folder, "rank_accuracy.csv")
    if table is None:
        return None
    table["among"] = table.groupby(["model", "step"])["share"].cumsum()
    table["best"] = table["rank"] + 1
    axes = model_panels(table, 2.3)
    shared = {"x": "best", "y": "among", "hue": "step", "marker": "o", "palette": "viridis"}
    for model, axis in axes.items():
        sns.lineplot(table[table["model"] == model], ax=axis, **shared)
        axis.set(xlabel="among the best r tokens", ylabel="share of positions", ylim=(0, 1.02))
        axis.legend(title="FIRP step")
    return figure_of(axes)


def cosine(folder: Folder) -> Figure | None:
    """Similarity of pseudo and real hidden states after each layer, tune split."""
    table = _firp_files(folder, "cosine.csv")
    if table is None:
        return None
    axes = model_panels(table, 2.3)
    shared = {"x": "layer", "y": "cosine", "hue": "step", "marker": "o", "palette": "viridis"}
    for model, axis in axes.items():
        mine = table[table["model"] == model]
        sns.lineplot(mine, ax=axis, **shared)
        axis.set(xlabel="after layer", ylabel="cosine similarity")
        axis.set_xticks(sorted(mine["layer"].unique()))
        axis.legend(title="FIRP step")
    return figure_of(axes)


def training(folder: Folder) -> Figure | None:
    """Loss and top-1 / top-5 accuracy on the tune split while training."""
    table = _firp_files(folder, "curves.csv")
    if table is None:
        return None
    models = list(dict.fromkeys(table["model"]))
    figure, axes = plt.subplots(len(models), 2, figsize=(FULL, 2.4 * len(models)), squeeze=False)
    for (left, right), model in zip(axes, models, strict=True):
        mine = table[table["model"] == model]
        title = model if len(models) > 1 else ""
        left.plot(mine["step"], mine["train_loss"], color=NEUTRAL[0], label="train batch")
        left.plot(mine["step"], mine["tune_loss"], marker="o", color=NEUTRAL[1], label="tune split")
        left.set(xlabel="training step", ylabel="KL, nats per position", title=title)
        left.legend()
        _accuracies(right, mine)
        right.set_title(title)
    return figure


def _accuracies(axis: plt.Axes, mine: pd.DataFrame) -> None:
    """Top-1 and top-5 accuracy of every step of FIRP against its training."""
    steps = [column.removeprefix("top1_step") for column in mine if column.startswith("top1_step")]
    for colour, step in zip(sns.color_palette("viridis", len(steps)), steps, strict=True):
        for kind, style in (("top1", "-"), ("top5", "--")):
            label = f"step {step}, {kind}"
            axis.plot(mine["step"], mine[f"{kind}_step{step}"], style, color=colour, label=label)
    axis.set(xlabel="training step", ylabel="accuracy, tune split", ylim=(0, 1.02))
    axis.legend(ncols=2)
