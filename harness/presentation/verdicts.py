"""Sentences on the run as a whole: A/A, losslessness, loops, noise, the package beside its twin."""

from collections.abc import Mapping

from harness.experiment.facts import Facts, FailureFacts, Twins
from harness.presentation.wording import name_of


def verdicts(facts: Facts) -> list[str]:
    """The lines that decide whether to trust a run: failures, A/A, losslessness and loops."""
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
    looping = [cell for cell, loops in facts["looping"].items() if loops]
    if looping:
        lines.append(
            f"More than 10 % of the answers loop on {', '.join(looping)}: "
            "no speedup is shown there."
        )
    return lines


def remarks(facts: Facts) -> list[str]:
    """Lines of the appendix: variants, what noise hides, and the package beside the engine."""
    return [
        *_variants(facts["experiment"].get("variants", {})),
        *_detectable(facts),
        *_twin_verdict(facts["twins"]),
    ]


def _failures(failures: list[FailureFacts]) -> list[str]:
    """Which arms failed and have no figures; one line for all sessions of a data set."""
    first = {
        (failure["model"], failure["dataset"], failure["arm"]): failure
        for failure in reversed(failures)
    }
    return [
        f"{name_of(arm)} FAILED on {model}/{dataset}: {failure['failure']}, first in session "
        f"{failure['session']}, prompt {failure['failed_at']}; no figures of it are shown there."
        for (model, dataset, arm), failure in first.items()
    ]


def _a_a_verdict(facts: Facts) -> list[str]:
    """Whether autoregressive decoding is as fast as itself, and which data sets are not ranked."""
    lines = []
    for model, result in facts["a_a"].items():
        if result["passes"] is None:
            lines.append(f"A/A on {model}: not tested, {result['reason']}.")
            continue
        lines.append(
            f"A/A on {model}: autoregressive decoding, timed as two arms in each of "
            f"{result['sessions']} sessions, takes {result['ratio']:.3f} times as long in one of "
            f"them, p = {result['p_value']:.2g}: "
            + ("passed." if result["passes"] else "FAILED, a place in the sessions is favoured.")
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
    for name, config in variants.items():
        changed = [f"{key} {value}" for key, value in config.items() if key not in ("of", "uses")]
        line = f"{name} is {name_of(str(config['of']))} with {', '.join(changed) or 'its settings'}"
        uses = f", after the training of {name_of(str(config['uses']))}" if "uses" in config else ""
        lines.append(f"{line}{uses}.")
    return lines


def _detectable(facts: Facts) -> list[str]:
    """The smallest slowdown of each model/data set that the noise of its A/A pair does not hide."""
    shares = [f"{100 * share:.1f} % on {cell}" for cell, share in facts["detectable"].items()]
    if not shares:
        return []
    return [
        "Smallest slowdown, equal on every question, that four runs in five would find, by the A/A "
        f"pair's noise: {', '.join(shares)}. Where questions gain differently, intervals are wider."
    ]


def _twin_verdict(twins: dict[str, Twins]) -> list[str]:
    """In one line whether the medusa-llm package and the engine did the same, and who is faster."""
    if not twins:
        return []
    runs, answers, steps = (
        sum(twin[key] for twin in twins.values()) for key in ("runs", "same_answers", "same_steps")
    )
    rates = [
        f"{twin['times_as_fast']:.2f}"
        + ("" if twin["low"] is None else f" [{twin['low']:.2f}, {twin['high']:.2f}]")
        + f" on {cell}"
        for cell, twin in twins.items()
    ]
    return [
        f"medusa-llm and our engine with its tree: {answers} of {runs} answers and {steps} of "
        f"{runs} sequences of accepted paths are equal; ours decodes {', '.join(rates)} times as "
        "fast."
    ]
