"""What is told of a machine, and what others took of it, from the kernel's counters."""

import shutil
from pathlib import Path

import pytest
import torch

from harness.engine.target import Target
from harness.measure import machine
from harness.measure.machine import Disturbance
from tests import ROOT
from tests.models import tiny_model

TICK = 100  # a second, on every Linux that there is


@pytest.fixture
def counters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Sets the kernel's counters and this process' own seconds."""
    monkeypatch.setattr(machine, "_STAT", tmp_path / "stat")
    monkeypatch.setattr(machine.os, "sysconf", lambda _: TICK)

    def write(own: float, user: int, idle: int, stolen: int) -> None:
        line = f"cpu  {user} 10 20 {idle} 5 1 2 {stolen} 0 0\ncpu0 0 0\n"
        (tmp_path / "stat").write_text(line)
        monkeypatch.setattr(machine.time, "process_time", lambda: own)

    return write


def test_what_neither_this_process_nor_idleness_took_is_others(counters) -> None:
    counters(own=1.0, user=1000, idle=5000, stolen=0)
    disturbance = Disturbance()
    counters(own=2.5, user=1200, idle=5100, stolen=7)
    # 2 s of work were counted, 1.5 s of them our own
    assert disturbance.seconds() == {
        "cores_seconds": 3.07,
        "others_seconds": 0.5,
        "stolen_seconds": 0.07,
    }


def test_a_system_without_counters_tells_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "_STAT", tmp_path / "none")
    assert Disturbance().seconds() == {}


@pytest.mark.parametrize(
    ("changed", "matters"),
    [
        ("harness/engine/loop.py", True),
        ("harness/measure/timing.py", True),
        ("harness/measure/setup.py", True),
        ("methods/firp/drafter.py", True),
        ("methods/medusa/templates.txt", True),
        ("harness/commands/session.py", False),
        ("harness/commands/keep.py", False),
        ("harness/presentation/report.py", False),
        ("harness/enginebench/show.py", False),
        ("harness/README.md", False),
    ],
)
def test_sources_are_those_of_what_is_measured(changed: str, matters: bool, tmp_path: Path) -> None:
    for folder in ("harness", "methods"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    before = machine.source_hash(tmp_path)
    assert before == machine.source_hash(), "the same files"
    with (tmp_path / changed).open("a") as file:
        file.write("# a remark\n")
    assert (machine.source_hash(tmp_path) != before) == matters


def test_memory_taken_is_what_runs_add(monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.TakenMemory(torch.device("cpu")).most() == {}
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: None)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 5 << 20)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 7 << 20)
    assert machine.TakenMemory(torch.device("cuda")).most() == {machine.TAKEN: 2.0}


def test_arm_machines_are_told_apart_by_their_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(part: str) -> str:
        file = tmp_path / "cpuinfo"
        file.write_text(f"processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: {part}\n\n")
        monkeypatch.setattr(machine, "_CPUINFO", file)
        return machine._cpu_name()

    assert told("0xd0c") == "CPU implementer 0x41, CPU part 0xd0c"
    assert told("0xd40") != told("0xd0c")


def test_timings_name_every_device_of_a_target(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {torch.device("cuda:1"): "H200", torch.device("cuda:0"): "A100"}
    monkeypatch.setattr(torch.cuda, "get_device_name", names.__getitem__)
    target = Target(tiny_model("llama"))
    facts = machine.machine(list(names), "plain")
    assert (facts["device"], facts["gpu"]) == ("cuda:1, cuda:0", "H200, A100")
    assert machine.machine(target.devices, target.product_kind)["device"] == "cpu"
