"""Figures of drafts: how many are accepted, how accurate they are, how their training went."""

from collections.abc import Sequence

import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from harness.experiment.folder import COSINE, Folder
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
from harness.presentation.trained import of_firp, studies, top1
from harness.presentation.wording import name_of

_POWERS = (1, 2, 4, 8, 16, 32, 64)


def acceptance(folder: Folder, dataset: str) -> Figure | None:
    """Share of the steps on a data set whose accepted path reaches each depth."""
    table = folder.read_csv(folder.table("acceptance_by_depth"))
    table = table[table["dataset"] == dataset]
    if table.empty:
        return None
    methods = ordered(table["arm"])
    # A legend beside the panel names all methods, a line each, however many there are.
    axes = panels(list(dict.fromkeys(table["model"])), max(2.3, 0.2 * len(methods)))
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
    table = folder.read_table("draft_size_curve")
    if table.empty:
        return None
    palette = {name_of(method): shade for method, shade in colours(table["method"]).items()}
    table["method"] = table["method"].map(name_of)
    measured = table.dropna(subset=["speedup"])
    style = "model" if table["model"].nunique() > 1 else None
    shared = {"x": "draft_size", "hue": "method", "palette": palette, "style": style}
    panels_wide = 1 if measured.empty else 2
    figure, axes = plt.subplots(1, panels_wide, figsize=(FULL, 2.7), squeeze=False)
    left, *right = axes[0]
    sns.lineplot(table, y="predicted_acceptance_length", ax=left, **shared)
    left.set(xlabel="draft tokens a step", ylabel="acceptance length")
    for axis in right:
        sns.scatterplot(measured, y="acceptance_length", ax=left, legend=False, **shared)
        sns.lineplot(measured, y="speedup", marker="o", ax=axis, **shared)
        axis.set(xlabel="draft tokens a step", ylabel="speedup")
        axis.axhline(1.0, color="black", linewidth=0.8)
    sizes = [size for size in _POWERS if size <= table["draft_size"].max()]
    for axis in axes[0]:
        axis.set_xscale("log", base=2)
        axis.set_xticks(sizes, sizes)
        axis.get_legend().remove()
    legend_beside({"": left}, columns=3)
    return figure


def rank_accuracy(folder: Folder) -> Figure | None:
    """How often the answer's token is among the best r tokens of FIRP step k, tune split."""
    table = of_firp(folder, "rank_accuracy.csv")
    if table.empty:
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
    """Similarity of pseudo and real hidden states after each layer, tune split: one panel compares
    the trained maps with two controls, the other right drafts with wrong ones.
    """
    table = of_firp(folder, COSINE)
    if table.empty:
        return None
    models = list(dict.fromkeys(table["model"]))
    size = (FULL, 2.4 * len(models))
    figure, axes = plt.subplots(len(models), 2, figsize=size, sharey=True, squeeze=False)
    for row, model in zip(axes, models, strict=True):
        lines = table[table["model"] == model].assign(key=lambda t: t["states"] + "/" + t["drafts"])
        for axis, kinds in zip(row, _COMPARED, strict=True):
            _similarities(axis, lines, kinds)
            axis.set_title(model if len(models) > 1 else "")
        low, high = row[0].get_ylim()
        row[0].set_ylim(low, high + 0.55 * (high - low))  # room for the legends
    return figure


# For each panel what it compares: the states and drafts of a line, its style, its name.
_COMPARED = (
    (
        ("firp/all", "-", "trained"),
        ("identity/all", "--", "identity maps"),
        ("today/all", ":", "today's state"),
    ),
    (("firp/right", "-", "right drafts"), ("firp/wrong", "--", "wrong drafts")),
)


def _similarities(
    axis: plt.Axes, lines: pd.DataFrame, kinds: Sequence[tuple[str, str, str]]
) -> None:
    """Draw a panel: a colour for each step, a line style for each of ``kinds``."""
    steps = sorted(lines["step"].unique())
    for step, colour in zip(steps, sns.color_palette("viridis", len(steps)), strict=True):
        for key, style, _ in kinds:
            line = lines[(lines["key"] == key) & (lines["step"] == step)].sort_values("layer")
            axis.plot(
                line["layer"], line["cosine"], style, marker="o", markersize=2.5, color=colour
            )
    shown = [key for key, _, _ in kinds if key in set(lines["key"])]
    handles = [
        Line2D([], [], color="black", linestyle=style) for key, style, _ in kinds if key in shown
    ]
    handles += [Line2D([], [], color=c) for c in sns.color_palette("viridis", len(steps))]
    names = [name for key, _, name in kinds if key in shown] + [f"step {step}" for step in steps]
    axis.legend(handles, names, ncols=2)
    axis.set(xlabel="after layer", ylabel="cosine similarity")
    layers = sorted(lines["layer"].unique())
    axis.set_xticks(layers[:: max(1, len(layers) // 8)])


def entry_layers(_: Folder) -> Figure | None:
    """Accuracy of each FIRP step and cost of a decode step, by the layer that states enter."""
    table = studies("entry")
    if table.empty:
        return None
    table["layer"] = table["entry_layers"].str.strip("[]").str.split(",").str[0].astype(int)
    axes = panels(list(dict.fromkeys(table["model"])), 2.4)
    for model, axis in axes.items():
        study = table[table["model"] == model].sort_values("layer").dropna(axis=1, how="all")
        steps = top1(study)
        study = study.dropna(subset=steps)  # only layouts with the most steps
        for step, colour in zip(steps, sns.color_palette("viridis", len(steps)), strict=True):
            label = f"step {step.removeprefix('top1_step')}"
            axis.plot(
                study["layer"], study[step], marker="o", markersize=3, color=colour, label=label
            )
        axis.set(xlabel="entry layer", ylabel="top-1 accuracy", ylim=(0, 1))
        axis.set_xticks(list(study["layer"]))
        costs = axis.twinx()
        costs.plot(study["layer"], study["step_cost"], "k--", marker="s", markersize=3)
        costs.set(ylabel="cost of a step (dashed)", ylim=(0, None))
        costs.grid(visible=False)
    legend_beside(axes, columns=4)
    return figure_of(axes)


def training_lengths(_: Folder) -> Figure | None:
    """Predicted tokens a step and accuracy of step 1 by seconds of training; each length was a
    separate training with its own schedule.
    """
    table = studies("length")
    if table.empty:
        return None
    columns = {"predicted_acceptance_length": "tokens a step", "top1_step1": "top-1 of step 1"}
    figure, axes = plt.subplots(1, 2, figsize=(FULL, 2.4))
    for axis, (column, label) in zip(axes, columns.items(), strict=True):
        for (model, method), group in table.groupby(["model", "method"], sort=False):
            line = group.sort_values("seconds")
            name = name_of(str(method))
            if table["model"].nunique() > 1:
                name = f"{name}, {model}"
            colour = colours(table["method"])[str(method)]
            axis.plot(line["seconds"], line[column], marker="o", color=colour, label=name)
        axis.set(xlabel="seconds of training", ylabel=label)
        axis.set_xscale("log", base=2)
        ticks = sorted(table["seconds"].unique())
        axis.set_xticks(ticks, [f"{tick:.0f}" for tick in ticks])
        axis.legend()
    return figure


def training(folder: Folder) -> Figure | None:
    """FIRP's losses, and its top-1 and top-5 accuracy on the tune split, during training."""
    table = of_firp(folder, "curves.csv")
    if table.empty:
        return None
    models = list(dict.fromkeys(table["model"]))
    figure, axes = plt.subplots(len(models), 2, figsize=(FULL, 2.4 * len(models)), squeeze=False)
    for (left, right), model in zip(axes, models, strict=True):
        log = table[table["model"] == model]
        title = model if len(models) > 1 else ""
        left.plot(log["step"], log["train_loss"], color=NEUTRAL[0], label="train batch")
        left.plot(log["step"], log["tune_loss"], marker="o", color=NEUTRAL[1], label="tune split")
        left.set(xlabel="training step", ylabel="KL, nats per position", title=title)
        left.legend()
        _accuracies(right, log)
        right.set_title(title)
    return figure


def _accuracies(axis: plt.Axes, log: pd.DataFrame) -> None:
    """Draw top-1 and top-5 accuracy of each FIRP step against the training step."""
    steps = [column.removeprefix("top1_step") for column in log if column.startswith("top1_step")]
    for colour, step in zip(sns.color_palette("viridis", len(steps)), steps, strict=True):
        for kind, style in (("top1", "-"), ("top5", "--")):
            label = f"step {step}, {kind}"
            axis.plot(log["step"], log[f"{kind}_step{step}"], style, color=colour, label=label)
    axis.set(xlabel="training step", ylabel="accuracy, tune split", ylim=(0, 1.02))
    axis.legend(ncols=2)
