"""What two runs of a stage must agree on: all but seconds, and what is chosen by them."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.files import sha256_file

SECONDS = {
    *("seconds", "prefill_seconds", "decode_seconds", "timed_seconds", "training_seconds"),
    *("tuning_seconds", "speedup", "device_state", "block", "role", "foretold_seconds_per_token"),
    *("prefill", "draft", "tree", "forward", "choose", "commit"),
    "predicted_speedup",  # from what forwards cost
    "extra_bytes",  # of the longest request that a process has seen so far
}
# Chosen by measured time: the setting, and what describes the setting alone.
CHOSEN = {"setting.json", "spent.json"}
MEASURED = {"curve": {"acceptance_length", "rows_per_step", "setting"}}


@dataclass(frozen=True)
class Trial:
    """A setting that was timed, the requests it answered, and what it accepted on them.

    Which settings go on from the screening to all requests is decided by seconds, so that one may
    have answered more in one run than in the other: then its figures are of different requests.
    """

    setting: tuple[str, ...]
    requests: str
    acceptance_length: str

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Trial) or self.setting != other.setting:
            return False
        alike = self.acceptance_length == other.acceptance_length
        return alike or self.requests != other.requests

    def __hash__(self) -> int:
        return hash(self.setting)


def settled(folder: Path) -> dict[str, Any]:
    """Relative path -> what is the same in every run; hidden files and logs are none of it."""
    found = {}
    for file in sorted(folder.rglob("*")):
        names = file.relative_to(folder).parts
        if file.is_file() and not any(name.startswith(".") for name in names):
            found["/".join(names)] = _view(file)
    return found


def differences(wanted: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """Files that only one side has, or that differ in what must be the same."""
    return [
        f"{name}: {'differs' if name in wanted and name in found else 'is in one run only'}"
        for name in sorted(wanted.keys() | found.keys())
        if wanted.get(name) != found.get(name)
    ]


def _view(file: Path) -> Any:
    if file.name in CHOSEN:
        return sorted(json.loads(file.read_text()))
    if file.suffix == ".jsonl":
        return [_timeless(json.loads(line)) for line in file.read_text().splitlines()]
    if file.suffix == ".json":
        return _timeless(json.loads(file.read_text()))
    if file.name == "trials.csv":
        with file.open(newline="") as stream:
            return [_trial(row) for row in _rows(stream)]
    if file.suffix == ".csv":
        dropped = SECONDS | MEASURED.get(file.parent.name, set())
        with file.open(newline="") as stream:
            lines = [{k: v for k, v in row.items() if k not in dropped} for row in _rows(stream)]
        return sorted(lines, key=str)
    return sha256_file(file)


def _trial(row: dict[str, str]) -> Trial:
    measured = {*SECONDS, "requests", "acceptance_length"}
    setting = tuple(v for k, v in row.items() if k not in measured)
    return Trial(setting, row["requests"], row["acceptance_length"])


def _rows(stream: Any) -> Any:
    return csv.DictReader(stream)


def _timeless(value: Any) -> Any:
    """Without the keys that hold seconds."""
    if isinstance(value, dict):
        return {k: _timeless(v) for k, v in value.items() if k not in SECONDS}
    return [_timeless(v) for v in value] if isinstance(value, list) else value
