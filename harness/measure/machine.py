"""What ran where: the machine's fingerprint, its state while running, and what was installed."""

import hashlib
import os
import platform
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

_AFTERWARDS = ("analysis", "presentation")  # of the harness
_STAT = Path("/proc/stat")
_CPUFREQ = Path("/sys/devices/system/cpu/cpu0/cpufreq")
_PACKAGES = ("torch", "transformers", "datasets", "medusa-llm", "pandas", "numpy", "snakemake")


def machine(devices: Sequence[torch.device], products: str) -> dict[str, Any]:
    """Facts that must agree for two timings to be compared; both arguments as of a target."""
    facts: dict[str, Any] = {
        "products": products,
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "device": ", ".join(map(str, devices)),
        "threads": torch.get_num_threads(),
        "blas": "mkl" if torch.backends.mkl.is_available() else "other",
        "torch": torch.__version__,
    }
    if (_CPUFREQ / "scaling_governor").is_file():
        facts["governor"] = (_CPUFREQ / "scaling_governor").read_text().strip()
    if devices[0].type == "cuda":
        facts["gpu"] = ", ".join(map(torch.cuda.get_device_name, devices))
        facts["cuda"] = torch.version.cuda
    return facts


def fingerprint(facts: dict[str, Any]) -> str:
    """Short hash of :func:`machine`; rows that differ in it never share a speedup."""
    text = "|".join(f"{key}={facts[key]}" for key in sorted(facts))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def device_state(device: torch.device) -> dict[str, float]:
    """Load, clock and temperature where they can be read; absent where not."""
    state = {"load1": round(os.getloadavg()[0], 2)}
    clock = _number(_CPUFREQ / "scaling_cur_freq", 1e-3)
    temperature = _number(Path("/sys/class/thermal/thermal_zone0/temp"), 1e-3)
    if clock is not None:
        state["cpu_mhz"] = clock
    if temperature is not None:
        state["celsius"] = temperature
    return state | (_gpu_state(device) if device.type == "cuda" else {})


def _gpu_state(device: torch.device) -> dict[str, float]:
    """Memory always; the rest needs nvidia-ml-py (the extra ``gpu``) and a driver that tells."""
    state = {"gpu_memory_mb": round(torch.cuda.memory_allocated(device) / 2**20, 1)}
    readers = {
        "gpu_mhz": torch.cuda.clock_rate,
        "gpu_celsius": torch.cuda.temperature,
        "gpu_milliwatts": torch.cuda.power_draw,
    }
    for name, read in readers.items():
        with suppress(Exception):  # every driver and library version fails in its own way
            state[name] = read(device)
    return state


class Disturbance:
    """What others took of the cores' time since it was made, as the kernel counts it.

    The kernel counts in ticks of 10 ms: only sums over many spans are exact, and the seconds of
    one span may be below 0.
    """

    def __init__(self) -> None:
        self._begun = _cpu_seconds()

    def seconds(self) -> dict[str, float]:
        """Of all cores, of other processes, of the hypervisor; empty without /proc/stat."""
        begun, ended = self._begun, _cpu_seconds()
        return {name: round(ended[name] - begun[name], 4) for name in ended}


def _cpu_seconds() -> dict[str, float]:
    """Seconds so far: of all cores, of processes but this one, and stolen by the hypervisor."""
    if not _STAT.is_file():
        return {}
    ticks = [int(word) for word in _STAT.read_text().split("\n", 1)[0].split()[1:9]]
    user, nice, system, idle, waiting, interrupts, soft, stolen = (
        tick / os.sysconf("SC_CLK_TCK") for tick in ticks
    )
    busy = user + nice + system + interrupts + soft
    return {
        "cores_seconds": busy + idle + waiting + stolen,
        "others_seconds": busy - time.process_time(),
        "stolen_seconds": stolen,
    }


def packages() -> dict[str, str]:
    """Versions of what the figures depend on."""
    return {name: version(name) for name in _PACKAGES}


def commit() -> str:
    """Commit of the working directory, with ``-dirty`` where tracked files differ from it."""
    root = Path(__file__).resolve().parents[2]
    head = _git(root, "rev-parse", "HEAD")
    if not head:
        return "unknown"
    return head + ("-dirty" if _git(root, "status", "--porcelain", "--untracked-files=no") else "")


def source_hash() -> str:
    """Hash of the sources that rows and timings come from, committed or not: the harness, but what
    it does with finished rows, the methods, and the trees that they read.
    """
    root = Path(__file__).resolve().parents[2]
    digest = hashlib.sha256()
    for folder in ("harness", "methods"):
        kinds = ("*.py", "*.txt")
        for file in sorted(file for kind in kinds for file in (root / folder).rglob(kind)):
            if file.relative_to(root).parts[1] in _AFTERWARDS:
                continue
            digest.update(f"{file.relative_to(root)}\0".encode() + file.read_bytes())
    return digest.hexdigest()


def _git(root: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown"


def _number(path: Path, scale: float) -> float | None:
    try:
        return round(int(path.read_text()) * scale, 1)
    except (OSError, ValueError):
        return None
