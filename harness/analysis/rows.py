"""Raw session rows as a data frame, one line per prompt, arm and session."""

from pathlib import Path
from typing import Annotated, Any

import pandas as pd
from pydantic import Field
from typing_extensions import TypedDict

from harness.errors import HarnessError
from harness.files import Name, TokenId, checked, read_jsonl

BASELINE, AGAIN = "autoregressive", "autoregressive_again"
_Counts = list[Annotated[int, Field(ge=0)]]
_Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Row(TypedDict):
    """What tables need of a row; it may hold more. Lists have one entry a step."""

    model: Name
    dataset: Name
    session: int
    prompt_id: str
    question_id: str
    arm: Name
    ids_sha256: str
    output_ids: list[TokenId]
    text: str
    step_tokens: Annotated[_Counts, Field(min_length=1)]
    step_draft_size: _Counts
    step_rows: _Counts
    step_path: list[list[Annotated[int, Field(ge=1)]]]
    prefill_seconds: _Seconds
    decode_seconds: _Seconds
    fingerprint: str
    stop_reason: str
    order: int
    divergence: dict[str, float | bool | None] | None
    device_state: dict[str, float]


class Failure(TypedDict):
    """A row that says why an arm left its session; it stands before the rows of a prompt."""

    model: str
    dataset: str
    session: int
    arm: str
    failure: str
    failed_at: str  # prompt
    error: str


FAILURES = tuple(Failure.__annotations__)


def session_files(root: Path, experiment: dict[str, Any]) -> list[Path]:
    """The row files of an experiment; files that older settings left behind are not among them."""
    return [
        root / "runs" / model / dataset / name
        for model in experiment["models"]
        for dataset in experiment["datasets"]
        for session in range(1, experiment["sessions"] + 1)
        for name in _names(session, experiment.get("shards", 1))
    ]


def _names(session: int, shards: int) -> list[str]:
    if shards == 1:
        return [f"session-{session}.jsonl"]
    return [f"session-{session}/shard-{shard}.jsonl" for shard in range(1, shards + 1)]


def load_rows(files: list[Path]) -> pd.DataFrame:
    """All rows of ``files``, with the decode-phase counts that every table starts from.

    An arm that failed in any session of a model and data set has no rows there: what it did before
    is on other prompts than the rest. :func:`load_failures` has the reasons.
    Adds: tokens (all), decode_tokens, decode_steps, draft_total and rows_total (sums over the
    decode phase, the first record left out).
    """
    found = _read(files)
    failed = {_arm_of(row) for row in found if "failure" in row}
    rows = [row for row in found if _arm_of(row) not in failed]
    if not rows:
        raise HarnessError(f"{', '.join(map(str, files))}: no rows, expected at least one")
    frame = pd.DataFrame(rows)
    frame["tokens"] = frame["output_ids"].map(len)
    frame["decode_tokens"] = frame["tokens"] - frame["step_tokens"].map(lambda counts: counts[0])
    frame["decode_steps"] = frame["step_tokens"].map(len) - 1
    frame["draft_total"] = frame["step_draft_size"].map(lambda sizes: sum(sizes[1:]))
    frame["rows_total"] = frame["step_rows"].map(lambda sizes: sum(sizes[1:]))
    if "shard" in frame:
        _check_shards(frame)
    _check_pairing(frame)
    return frame


def load_failures(files: list[Path]) -> pd.DataFrame:
    """Arms that failed in a session, one line each; columns ``FAILURES``."""
    failed = [row for row in _read(files) if "failure" in row]
    return pd.DataFrame(failed, columns=list(FAILURES))


def _read(files: list[Path]) -> list[dict[str, Any]]:
    return [
        _of_its_shard(_checked(row, f"{file} line {number}"), file)
        for file in files
        for number, row in enumerate(read_jsonl(file), start=1)
    ]


def _arm_of(row: dict[str, Any]) -> tuple[str, str, str]:
    return row["model"], row["dataset"], row["arm"]


def _checked(row: dict[str, Any], where: str) -> dict[str, Any]:
    if "failure" in row:
        checked(Failure, row, where)
        return row
    checked(Row, row, where)
    lengths = {name: len(row[name]) for name in row if name.startswith("step_")}
    if len(set(lengths.values())) > 1:
        raise HarnessError(f"{where}: steps are counted as {lengths}, expected equal lengths")
    where = f"{where}: prompt {row['prompt_id']}, arm {row['arm']}"
    if sum(row["step_tokens"]) != len(row["output_ids"]):
        raise HarnessError(
            f"{where}: steps hold {sum(row['step_tokens'])} tokens, output_ids "
            f"{len(row['output_ids'])}"
        )
    for tokens, path in zip(row["step_tokens"], row["step_path"], strict=True):
        if tokens > len(path) + 1:
            raise HarnessError(
                f"{where}: a step commits {tokens} tokens and accepts {len(path)} drafts, "
                "expected one token more than drafts"
            )
    return row


def _check_shards(frame: pd.DataFrame) -> None:
    """Every session has all of its shards, and no prompt is in two of them."""
    for (model, dataset, session), rows in frame.groupby(["model", "dataset", "session"]):
        where = f"{model}/{dataset}, session {session}"
        counts = set(rows["shards"])
        if len(counts) > 1:
            raise HarnessError(f"{where}: split into {sorted(counts)} shards, expected one number")
        missing = set(range(1, int(counts.pop()) + 1)) - set(rows["shard"])
        if missing:
            raise HarnessError(f"{where}: no rows of shard {min(missing)}")
        for prompt, found in rows.groupby("prompt_id")["shard"]:
            if found.nunique() > 1:
                twice = " and ".join(str(shard) for shard in sorted(set(found)))
                raise HarnessError(f"{where}: prompt {prompt} is in shards {twice}")


def _of_its_shard(row: dict[str, Any], file: Path) -> dict[str, Any]:
    if file.stem.startswith("shard-") and file.stem != f"shard-{row.get('shard')}":
        raise HarnessError(f"{file}: a row of shard {row.get('shard', 'none')}, expected its own")
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
