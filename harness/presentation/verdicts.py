"""What a report says of a run, one line each: A/A, losslessness, the package as a twin, loops."""

from collections.abc import Mapping

from harness.experiment.facts import Facts, FailureFacts, Twins
from harness.presentation.wording import name_of


def verdicts(facts: Facts) -> list[str]:
    """What stands above the main table: failures, A/A, losslessness and loops."""
    lines = [*_failures(facts["failures"]), *_a_a_verdict(facts)]
    differing = sum(facts["divergences"].values())
    lines.append(
        "Lossless: every answer of every arm, the lossy ones left out, is token-identical to "
        "autoregressive decoding."
        if not differing
        else f"{differing} answers differ from autoregressive decoding: "
        + ", ".join(f"{count} {cause}" for cause, count in facts["divergences"].items())
        + "; listed in divergences.csv."
    )
    looping = [cell for cell, found in facts["looping"].items() if found]
    if looping:
        lines.append(
            f"More than 10 % of the answers loop on {', '.join(looping)}: "
            "no speedup is shown there."
        )
    return lines


def remarks(facts: Facts) -> list[str]:
    """What stands below it: variants, what noise hides, and the package beside the engine."""
    return [
        *_variants(facts["experiment"].get("variants", {})),
        *_detectable(facts),
        *_twin_verdict(facts["twins"]),
    ]


def _failures(found: list[FailureFacts]) -> list[str]:
    """Which arms have no figures, and why; one line for all sessions of a set."""
    first = {(one["model"], one["dataset"], one["arm"]): one for one in reversed(found)}
    return [
        f"{name_of(arm)} FAILED on {model}/{dataset}: {one['failure']}, first in session "
        f"{one['session']}, prompt {one['failed_at']}; no figures of it are shown there."
        for (model, dataset, arm), one in first.items()
    ]


def _a_a_verdict(facts: Facts) -> list[str]:
    """Whether autoregressive decoding is as fast as itself, and which sets are not ranked."""
    lines = []
    for model, found in facts["a_a"].items():
        if found["passes"] is None:
            lines.append(f"A/A on {model}: not tested, {found['reason']}.")
            continue
        lines.append(
            f"A/A on {model}: autoregressive decoding, timed twice in each of {found['sessions']} "
            f"sessions, takes {found['ratio']:.3f} times as long the first time, "
            f"p = {found['p_value']:.2g}: "
            + ("passed." if found["passes"] else "FAILED, a place in the sessions is favoured.")
        )
    by_reason: dict[str, list[str]] = {}
    for cell, reason in facts["unranked"].items():
        by_reason.setdefault(reason, []).append(cell)
    lines += [
        f"Methods are not ranked on {', '.join(cells)} ({reason})."
        for reason, cells in by_reason.items()
    ]
    return lines


def _variants(variants: Mapping[str, Mapping[str, object]]) -> list[str]:
    """What each variant of a method changes, and whose training it uses."""
    lines = []
    for name, given in variants.items():
        changed = [f"{key} {value}" for key, value in given.items() if key not in ("of", "uses")]
        line = f"{name} is {name_of(str(given['of']))} with {', '.join(changed) or 'its settings'}"
        uses = f", after the training of {name_of(str(given['uses']))}" if "uses" in given else ""
        lines.append(f"{line}{uses}.")
    return lines


def _detectable(facts: Facts) -> list[str]:
    """What the noise of the A/A pair hides."""
    found = [f"{100 * seen:.1f} % on {cell}" for cell, seen in facts["detectable"].items()]
    if not found:
        return []
    return [
        "Smallest slowdown, equal on every question, that four runs in five would find, by the A/A "
        f"pair's noise: {', '.join(found)}. Where questions gain differently, intervals are wider."
    ]


def _twin_verdict(twins: dict[str, Twins]) -> list[str]:
    """Whether the package and the engine did the same, and which was faster, in one line."""
    if not twins:
        return []
    runs, answers, steps = (
        sum(found[key] for found in twins.values())
        for key in ("runs", "same_answers", "same_steps")
    )
    rates = [
        f"{found['times_as_fast']:.2f}"
        + ("" if found["low"] is None else f" [{found['low']:.2f}, {found['high']:.2f}]")
        + f" on {cell}"
        for cell, found in twins.items()
    ]
    return [
        f"medusa-llm and our engine with its tree: {answers} of {runs} answers and {steps} of "
        f"{runs} sequences of accepted paths are equal; ours decodes {', '.join(rates)} times as "
        "fast."
    ]
