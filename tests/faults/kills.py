"""SIGKILL at random moments of a stage, and what must hold after each."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.same import differences, settled
from tests.faults.whole import torn

POLL = 0.0005  # seconds between looks at the files, for a kill that is aimed at a write


@dataclass(frozen=True)
class Stage:
    """A command of the workflow. ``outputs``: files that its rule declares, ``folder`` all that it
    writes to, both relative to the working directory. ``anew`` lays the directory out as it is
    before the stage's first start.
    """

    name: str
    command: str
    work: Path
    folder: str
    outputs: tuple[str, ...]
    anew: Callable[[], None]
    environment: dict[str, str] = field(default_factory=dict)


@dataclass
class Outcome:
    """What the kills did to a stage."""

    name: str
    seconds: float
    attempted: int = 0
    survived: int = 0
    aimed: int = 0
    completed: int = 0
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        told = (
            f"{self.name}: {self.survived} of {self.attempted} kills survived, {self.aimed} aimed "
            f"at a write; {self.completed} runs ended like the first, of {self.seconds:.1f} s"
        )
        return "\n  ".join([told, *self.faults])


def kill_often(stage: Stage, kills: int, seed: int) -> Outcome:
    """Kill the stage ``kills`` times, one to four times before each run that may end."""
    rng = random.Random(f"{stage.name}/{seed}")
    stage.anew()
    started = time.monotonic()
    _run(stage)
    outcome = Outcome(stage.name, time.monotonic() - started)
    wanted = settled(stage.work / stage.folder)
    while outcome.attempted < kills:
        _one_life(stage, min(rng.randint(1, 4), kills - outcome.attempted), rng, wanted, outcome)
    return outcome


def _one_life(
    stage: Stage, kills: int, rng: random.Random, wanted: dict[str, Any], outcome: Outcome
) -> None:
    """From the first start over some kills to an end; all of them count if the end is right."""
    stage.anew()
    faults: list[str] = []
    done, measured = 0, b""
    while done < kills:
        aim = rng.randint(1, 3) if rng.random() < 0.5 else 0
        moment = rng.uniform(0.0, outcome.seconds)
        if not _killed(stage, moment, aim):  # it ended before
            faults += _ending(stage, wanted, measured)
            stage.anew()
            measured = b""
            continue
        done += 1
        outcome.aimed += aim > 0
        faults += torn(stage.work / stage.folder) or _half(stage, wanted)
        faults += _lost(stage, measured)
        ended = all((stage.work / name).exists() for name in stage.outputs)
        # Snakemake knows no end that it has not seen: it measures anew.
        measured = b"" if ended else max(measured, _journal(stage), key=len)
        _drop_outputs(stage)
    _run(stage)
    faults += _ending(stage, wanted, measured)
    outcome.attempted += done
    outcome.completed += not faults
    outcome.survived += 0 if faults else done
    outcome.faults += faults


def _half(stage: Stage, wanted: dict[str, Any]) -> list[str]:
    """Outputs that can be read, but are not what they are in the end."""
    found = settled(stage.work / stage.folder)
    names = [str(Path(name).relative_to(stage.folder)) for name in stage.outputs]
    half = [name for name in names if name in found and found[name] != wanted.get(name)]
    return [f"{name} was half there" for name in half]


def _ending(stage: Stage, wanted: dict[str, Any], measured: bytes) -> list[str]:
    """What is wrong with a stage's end."""
    found = settled(stage.work / stage.folder)
    return differences(wanted, found) + _lost(stage, measured)


def _killed(stage: Stage, moment: float, aim: int) -> bool:
    """Start the stage and kill its group after ``moment`` seconds, or once its files have changed
    ``aim`` times; False where it ends before.
    """
    process = _start(stage)
    deadline = time.monotonic() + (600 if aim else moment)
    seen, changes = _signature(stage), 0
    while process.poll() is None and time.monotonic() < deadline:
        if aim:
            now = _signature(stage)
            changes, seen = changes + (now != seen), now
            if changes == aim:
                break
        time.sleep(POLL if aim else 0.005)
    if process.poll() is not None:
        _check(stage, process)
        return False
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return True


def _signature(stage: Stage) -> set[tuple[str, int]]:
    """Names and sizes of all files, temporaries too."""
    found = set()
    for folder, _, names in os.walk(stage.work / stage.folder):
        for name in names:
            try:
                found.add((name, os.stat(os.path.join(folder, name)).st_size))  # noqa: PTH116, PTH118
            except FileNotFoundError:
                continue
    return found


def _journal(stage: Stage) -> bytes:
    """Rows of the session that is under way, without the header and a torn end."""
    whole = b""
    for file in (stage.work / stage.folder).rglob(".*.journal"):
        _, _, rows = file.read_bytes().partition(b"\n")
        whole += rows[: max(0, rows.rfind(b'"last_of_prompt": true'))]
    return whole


def _lost(stage: Stage, measured: bytes) -> list[str]:
    """Rows that were measured must stand, byte by byte, in the journal or the final file."""
    files = [*(stage.work / stage.folder).rglob("*.jsonl")]
    held = [_journal(stage), *(file.read_bytes() for file in files)]
    kept = any(data.startswith(measured) for data in held)
    return [] if kept else [f"{len(measured)} bytes of rows were lost"]


def _start(stage: Stage) -> subprocess.Popen[bytes]:
    own = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", **stage.environment}
    with _said(stage).open("wb") as said:
        return subprocess.Popen(
            ["bash", "-c", f"set -euo pipefail; {stage.command}"],
            cwd=stage.work,
            env={**os.environ, **own},
            stdout=subprocess.DEVNULL,
            stderr=said,
            start_new_session=True,
        )


def _said(stage: Stage) -> Path:
    return stage.work / f".{stage.name}.err"


def _run(stage: Stage) -> None:
    process = _start(stage)
    process.wait()
    _check(stage, process)


def _check(stage: Stage, process: subprocess.Popen[bytes]) -> None:
    if process.returncode:
        said = _said(stage).read_text()[-2000:]
        raise RuntimeError(f"{stage.name} ended with {process.returncode}: {said}")


def _drop_outputs(stage: Stage) -> None:
    """As Snakemake does before it starts a job again."""
    for name in stage.outputs:
        (stage.work / name).unlink(missing_ok=True)


def lay_out(source: Path, work: Path, without: tuple[str, ...]) -> None:
    """``work`` as a copy of ``source``, code left out, and without the files of these patterns."""
    shutil.rmtree(work, ignore_errors=True)
    for name in ("results", "workflows"):
        shutil.copytree(source / name, work / name)
    for pattern in without:
        for file in work.glob(pattern):
            if file.is_dir():
                shutil.rmtree(file)
            else:
                file.unlink()
