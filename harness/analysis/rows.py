"""Raw session rows as a data frame, one line per prompt, arm and session."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import cast

import pandas as pd

from harness.errors import HarnessError
from harness.experiment.records import BASELINE, Failure, Left, Record, Row, is_failure
from harness.files import checked, read_jsonl

FAILURES = ("model", "dataset", "session", *Left.__annotations__)


def load_rows(files: list[Path]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """All rows of ``files``, and the failures among their records, one line each.

    Where an arm failed in any session of a model and data set, all its rows there are left out: the
    prompts that it answered before are not those that the other arms answered.
    Added columns, from which every table starts: tokens (all), decode_tokens, decode_steps,
    draft_total and rows_total (sums over the decode phase, without the prefill's record).
    """
    records = [record for file in files for record in _read(file)]
    failures = [record for record in records if is_failure(record)]
    failed = set(map(_arm_of, failures))
    rows = [row for row in records if not is_failure(row) and _arm_of(row) not in failed]
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
    return frame, pd.DataFrame(failures, columns=list(FAILURES))


def _read(file: Path) -> Iterator[Record]:
    """The records of a file, each checked."""
    for number, line in enumerate(read_jsonl(file), start=1):
        _check_shard(line.get("shard"), file)
        where = f"{file} line {number}"
        if "failure" in line:
            yield checked(Failure, line, where)
        else:
            yield _checked(checked(Row, line, where), where)


def _arm_of(record: Record) -> tuple[str, str, str]:
    return record["model"], record["dataset"], record["arm"]


def _checked(row: Row, where: str) -> Row:
    """Refuse a row whose steps and tokens do not fit each other."""
    values = cast(Mapping[str, Sequence[object]], row)
    steps = ("step_tokens", "step_draft_size", "step_rows", "step_path")
    lengths = {name: len(values[name]) for name in steps}
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
    """Refuse sessions that lack one of their shards, and prompts that are in two of them."""
    for (model, dataset, session), rows in frame.groupby(["model", "dataset", "session"]):
        where = f"{model}/{dataset}, session {session}"
        counts = set(rows["shards"])
        if len(counts) > 1:
            raise HarnessError(f"{where}: split into {sorted(counts)} shards, expected one number")
        missing = set(range(1, int(counts.pop()) + 1)) - set(rows["shard"])
        if missing:
            raise HarnessError(f"{where}: no rows of shard {min(missing)}")
        for prompt, shards in rows.groupby("prompt_id")["shard"]:
            if shards.nunique() > 1:
                twice = " and ".join(str(shard) for shard in sorted(set(shards)))
                raise HarnessError(f"{where}: prompt {prompt} is in shards {twice}")


def _check_shard(shard: object, file: Path) -> None:
    if file.stem.startswith("shard-") and file.stem != f"shard-{shard}":
        number = "none" if shard is None else shard
        raise HarnessError(f"{file}: a row of shard {number}, expected its own")


def _check_pairing(frame: pd.DataFrame) -> None:
    """Refuse arms that differ in token ids, machine, number of rows or prompts of a session."""
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
