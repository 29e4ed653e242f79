"""Raw session rows as a data frame, one line per prompt, arm and session."""

from pathlib import Path
from typing import Any

import pandas as pd

from harness.errors import HarnessError
from harness.files import read_jsonl

BASELINE, AGAIN = "autoregressive", "autoregressive_again"
_NEEDED = {
    "model",
    "dataset",
    "session",
    "prompt_id",
    "question_id",
    "arm",
    "ids_sha256",
    "output_ids",
    "step_tokens",
    "step_draft_size",
    "step_rows",
    "step_path",
    "prefill_seconds",
    "decode_seconds",
    "fingerprint",
    "stop_reason",
    "order",
}


def session_files(root: Path, experiment: dict[str, Any]) -> list[Path]:
    """The row files of an experiment; files that older settings left behind are not among them."""
    return [
        root / "runs" / model / dataset / f"session-{session}.jsonl"
        for model in experiment["models"]
        for dataset in experiment["datasets"]
        for session in range(1, experiment["sessions"] + 1)
    ]


def load_rows(files: list[Path]) -> pd.DataFrame:
    """All rows of ``files``, with the decode-phase counts that every table starts from.

    Adds: tokens (all), decode_tokens, decode_steps, draft_total and rows_total (sums over the
    decode phase, the first record left out).
    """
    rows = [_checked(row, file) for file in files for row in read_jsonl(file)]
    frame = pd.DataFrame(rows)
    frame["tokens"] = frame["output_ids"].map(len)
    frame["decode_tokens"] = frame["tokens"] - frame["step_tokens"].map(lambda counts: counts[0])
    frame["decode_steps"] = frame["step_tokens"].map(len) - 1
    frame["draft_total"] = frame["step_draft_size"].map(lambda sizes: sum(sizes[1:]))
    frame["rows_total"] = frame["step_rows"].map(lambda sizes: sum(sizes[1:]))
    _check_pairing(frame)
    return frame


def _checked(row: dict[str, Any], file: Path) -> dict[str, Any]:
    missing = _NEEDED - set(row)
    if missing:
        raise HarnessError(f"{file}: a row lacks '{min(missing)}'")
    if sum(row["step_tokens"]) != len(row["output_ids"]):
        raise HarnessError(
            f"{file}: prompt {row['prompt_id']}, arm {row['arm']}: steps hold "
            f"{sum(row['step_tokens'])} tokens, output_ids {len(row['output_ids'])}"
        )
    for tokens, path in zip(row["step_tokens"], row["step_path"], strict=False):
        if tokens > len(path) + 1:
            raise HarnessError(
                f"{file}: prompt {row['prompt_id']}, arm {row['arm']}: a step commits {tokens} "
                f"tokens and accepts {len(path)} drafts, expected one token more than drafts"
            )
    return row


def _check_pairing(frame: pd.DataFrame) -> None:
    """Every arm saw the same ids, on one machine, the same number of times."""
    for (_, prompt), hashes in frame.groupby(["model", "prompt_id"])["ids_sha256"]:
        if hashes.nunique() > 1:
            raise HarnessError(f"prompt {prompt}: arms saw different token ids")
    cells = frame.groupby(["model", "dataset"])
    for (model, dataset), cell in cells:
        if cell["fingerprint"].nunique() > 1:
            raise HarnessError(
                f"{model}/{dataset}: rows of {cell['fingerprint'].nunique()} machines, expected 1"
            )
        if BASELINE not in set(cell["arm"]):
            raise HarnessError(f"{model}/{dataset}: no rows of '{BASELINE}'")
        counts = cell.groupby("arm")["prompt_id"].count()
        if counts.nunique() > 1:
            raise HarnessError(f"{model}/{dataset}: arms have {dict(counts)} rows, expected equal")
        asked = cell.groupby("arm")[["session", "prompt_id"]].apply(_asked)
        if asked.nunique() > 1 or len(asked.iloc[0]) != len(set(asked.iloc[0])):
            raise HarnessError(
                f"{model}/{dataset}: arms did not answer every prompt once a session"
            )


def _asked(rows: pd.DataFrame) -> tuple[tuple[int, str], ...]:
    return tuple(sorted(rows.itertuples(index=False, name=None)))
