"""The engine benchmark as a figure and as Markdown."""

from pathlib import Path

import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt

from harness.enginebench.predicted import KIND
from harness.enginebench.record import Record
from harness.enginebench.tables import STEP_ONLY, WHOLE, forward_table, step_table
from harness.files import write_text
from harness.presentation.style import save_svg, use_style
from harness.presentation.wording import name_of, number

NAMES = {
    "autoregressive": "engine, autoregressive",
    "firp_combined": "FIRP, combined",
    "firp_two_pass": "FIRP, two-pass",
    "hf_dynamic": "HF generate, dynamic cache",
    "hf_static": "HF generate, static cache",
    "hf_compiled": "HF generate, static, compiled",
    "autoregressive_compiled": "engine, autoregressive, compiled",
    "firp_combined_compiled": "FIRP, combined, compiled",
    "autoregressive_graphs": "engine, autoregressive, graphs",
    "firp_combined_graphs": "FIRP, combined, graphs",
}
BESIDE = {"stock_ms": "by stock layers", "graphs_ms": "by graphs", "products_ms": "products alone"}
WIDTH = 3.4


def show_engine(measured: Record, out: Path) -> str:
    """Draw ``engine.svg``, write ``engine.md``; returns the latter's text."""
    forwards, steps = forward_table(measured), step_table(measured)
    steps["name"] = steps["arm"].map(NAMES)
    _figure(forwards, steps, out / "engine.svg")
    text = "\n\n".join([_caption(measured), _steps(steps), _forwards(forwards)]) + "\n"
    write_text(out / "engine.md", text)
    return text


def show_predictions(table: pd.DataFrame, out: Path) -> str:
    """Write predicted speedups as Markdown; returns the text."""
    lines = [
        [
            line["kind"],
            " ".join(filter(None, [name_of(line["method"]), line["passes"].replace("_", "-")])),
            *(number(line[name], 2) for name in ("tokens_per_step", "relative_step")),
            f"{line['rows']:g}",
            str(line["context"]),
            number(line["predicted_speedup"], 2),
            f"{line['acceptance_of']}, {line['acceptance_on']}; {line['source']}",
        ]
        for _, line in table.iterrows()
    ]
    names = "kind,method,tokens per step,step over AR,rows,tokens in the cache"
    head = [*names.split(","), "predicted speedup", "acceptance taken from"]
    first = table.iloc[0]
    caption = (
        f"**{KIND.capitalize()}, nothing here was decoded.** Acceptance from elsewhere, as each "
        f"line says, times forwards of `{first['target']}` timed in {first['dtype']} on "
        f"{first['device']}. Drafting counts as the time to read its weights, all else beside the "
        "forwards for nothing. Steps "
        f"of more than {first['widest_timed']} rows go on as the widest two timed ones do."
    )
    text = f"{caption}\n\n{_markdown(head, lines)}\n"
    write_text(out, text)
    return text


def _caption(measured: Record) -> str:
    facts, grid = measured["machine"], measured["grid"]
    where = facts.get("gpu") or f"{facts['cpu']}, {facts['threads']} threads"
    left_out = [f"Left out: {NAMES[arm]} ({why})." for arm, why in measured["left_out"].items()]
    return " ".join(
        [
            f"**{measured['name']}**: {measured['parameters'] / 1e6:,.1f} M parameters, "
            f"{measured['layers']} layers, weights {measured['weights']}; {measured['dtype']}, "
            f"{measured['attention']} attention, on "
            f"{where}, torch {facts['torch']}, commit {measured['commit'][:12]}.",
            f"Copies: {measured['copy']['rate'] / 1e9:,.1f} GB/s, read and written bytes counted.",
            f"A step reads {measured['bytes']['weights'] / 1e6:,.1f} MB of weights and "
            f"{measured['bytes']['per_token'] / 1e3:,.1f} kB a token in the cache.",
            f"Medians of {grid['rounds']} rounds of {grid['tokens']} tokens and of "
            f"{grid['repeats']} forwards, with the lowest and the highest.",
            "Contexts were decoded one after the other, so the machine's drift is between them; "
            "ratios to autoregressive decoding are within a round.",
            *_disturbed(measured["disturbance"]),
            *_operations(measured["operations"]),
            f"FIRP: {STEP_ONLY}.",
            *left_out,
        ]
    )


def _disturbed(seconds: dict[str, float]) -> list[str]:
    """The share of the cores that other processes took, where the system counts it."""
    if not seconds.get("cores_seconds"):
        return []
    taken = seconds["others_seconds"] + seconds["stolen_seconds"]
    share = 100 * max(0.0, taken) / seconds["cores_seconds"]
    return [f"While forwards were timed, other processes took {share:.1f} % of the cores."]


def _operations(counts: dict[str, float]) -> list[str]:
    stock = f", {counts['stock']:.0f} by stock layers" if "stock" in counts else ""
    return [f"A layer is {counts['engine']:.0f} torch operations{stock}, views counted."]


def _steps(steps: pd.DataFrame) -> str:
    lines = [
        [
            line["name"],
            str(line["context"]),
            _range(line, ("step_ms", "low_ms", "high_ms"), 2),
            number(line["tokens_per_second"], 1),
            _range(line, ("relative_step", "relative_low", "relative_high"), 2),
            number(line["bandwidth_fraction"], 3),
        ]
        for _, line in steps.iterrows()
    ]
    head = "arm,tokens in the cache,ms a step,tokens/s,step over AR in the engine,of copy bandwidth"
    return _markdown(head.split(","), lines)


def _forwards(forwards: pd.DataFrame) -> str:
    """Milliseconds by rows and context, with the ratio to one row's in brackets, as Markdown.

    For the shortest context also those of stock layers, of graphs, and of the products alone.
    """
    contexts = sorted(forwards["context"].unique())
    beside = [name for name in BESIDE if forwards[name].notna().any()]
    lines = []
    for rows, group in forwards.groupby("rows"):
        at = group.set_index("context")
        cells = [
            f"{at['forward_ms'][context]:,.2f} ({number(at['relative_forward'][context], 2)})"
            for context in contexts
        ]
        others = [number(at[name][contexts[0]], 2) for name in beside]
        lines.append([str(rows), *cells, *others])
    head = [f"behind {context} tokens" for context in contexts]
    head += [f"{BESIDE[name]}, behind {contexts[0]}" for name in beside]
    return _markdown(["rows of a forward", *head], lines)


def _range(line: pd.Series, columns: tuple[str, str, str], digits: int) -> str:
    middle, low, high = (number(line[column], digits) for column in columns)
    return f"{middle} [{low}, {high}]"


def _markdown(head: list[str], lines: list[list[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _figure(forwards: pd.DataFrame, steps: pd.DataFrame, out: Path) -> None:
    """Plot forwards by rows, tokens per second beside generate, and FIRP's steps over AR's."""
    use_style()
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(3 * WIDTH, 3.2))
    shared = {"hue": "context", "palette": "viridis", "marker": "o", "legend": "full"}
    sns.lineplot(forwards, x="rows", y="forward_ms", ax=left, **shared)
    left.set(xlabel="rows of the forward", ylabel="milliseconds", ylim=(0, None))
    left.legend(title="tokens in the cache", fontsize=7)
    _log_axis(left, forwards["rows"])
    whole = steps[steps["counts"] == WHOLE]
    sns.lineplot(whole, x="context", y="tokens_per_second", hue="name", marker="o", ax=middle)
    middle.set(xlabel="tokens in the cache", ylabel="tokens per second", ylim=(0, None))
    firp = steps[steps["counts"] == STEP_ONLY]
    sns.lineplot(firp, x="context", y="relative_step", hue="name", marker="o", ax=right)
    right.axhline(1.0, color="black", linewidth=0.8)
    right.set(xlabel="tokens in the cache", ylabel="step over AR step (cost only)", ylim=(0, None))
    for axis in (middle, right):
        _log_axis(axis, steps["context"])
        if axis.get_legend() is not None:
            axis.legend(title=None, fontsize=7)
    save_svg(figure, out)


def _log_axis(axis: plt.Axes, values: pd.Series) -> None:
    ticks = sorted(values.unique())
    axis.set_xscale("log", base=2)
    axis.set_xticks(ticks, ticks)
