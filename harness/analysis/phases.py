"""Where decode time goes: milliseconds per step by phase, from the profile pass."""

from collections.abc import Sequence

import pandas as pd

from harness.experiment.folder import Folder
from harness.experiment.records import PHASES, PREFILL

KEYS = ("model", "method")
FIGURES = (
    "decode_steps timed_ms profiled_over_timed prefill_ms "
    "draft_ms tree_ms forward_ms choose_ms commit_ms between_ms between_share draft_share"
).split()


def phases(folder: Folder, models: Sequence[str], keys: Sequence[str] = KEYS) -> pd.DataFrame:
    """One line per model and arm: milliseconds per decode step, and for the prefill per request.
    With "dataset" among ``keys`` also per data set: what is drafted may depend on the text.

    ``timed_ms`` was measured without clocks inside the step, the phases with them in a second run
    of the same request. ``between_ms`` is the part of that run's decode time that is in no phase.
    Arms outside the engine have no phases.
    """
    profile = folder.of_models(folder.profile, models)
    if profile.empty:
        return pd.DataFrame(columns=[*keys, *FIGURES])
    # min_count: outside the engine no phase was timed, which is not the same as zero seconds
    raw = profile.groupby(list(keys), sort=False).sum(numeric_only=True, min_count=1).reset_index()
    per_step = 1000 / raw["decode_steps"].where(raw["decode_steps"] > 0)
    between = raw["decode_seconds"] - raw[list(PHASES)].sum(axis=1, min_count=1)
    return pd.DataFrame(
        {
            **{key: raw[key] for key in keys},
            "decode_steps": raw["decode_steps"],
            "timed_ms": raw["timed_seconds"] * per_step,
            "profiled_over_timed": raw["decode_seconds"] / raw["timed_seconds"],
            "prefill_ms": 1000 * raw[PREFILL] / raw["requests"],
            **{f"{phase}_ms": raw[phase] * per_step for phase in PHASES},
            "between_ms": between * per_step,
            "between_share": between / raw["decode_seconds"],
            "draft_share": raw["draft"] / raw["decode_seconds"],
        }
    )
