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

import torch

from harness.experiment.records import Machine

_ROOT = Path(__file__).resolve().parents[2]
TAKEN = "gpu_taken_mb"
# Parts of the harness that rows and timings come from; the others work before or after these.
_MEASURED = (
    *("decoder.py", "method.py", "models.py", "model_files.py"),
    *("engine", "measure", "pretrain", "data/answers.py", "experiment/arms.py"),
)
_STAT = Path("/proc/stat")
_CPUINFO = Path("/proc/cpuinfo")
_ARM = ("CPU implementer", "CPU architecture", "CPU variant", "CPU part", "CPU revision")
_CPUFREQ = Path("/sys/devices/system/cpu/cpu0/cpufreq")
_PACKAGES = ("torch", "transformers", "datasets", "medusa-llm", "pandas", "numpy", "snakemake")


def machine(devices: Sequence[torch.device], products: str) -> Machine:
    """Facts that must agree for two timings to be compared. Both arguments are properties of a
    target: ``devices`` and ``product_kind``.
    """
    facts: Machine = {
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


def fingerprint(facts: Machine) -> str:
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
    """Memory always; the rest needs nvidia-ml-py (the extra ``gpu``) and a driver with figures."""
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


class TakenMemory:
    """GPU memory taken since this object was made, beyond what was allocated then."""

    def __init__(self, device: torch.device) -> None:
        self._device, self._before = device, 0
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            self._before = torch.cuda.memory_allocated(device)

    def most(self) -> dict[str, float]:
        """The peak in MiB; empty on a CPU, whose allocator does not report one."""
        if self._device.type != "cuda":
            return {}
        peak = torch.cuda.max_memory_allocated(self._device) - self._before
        return {TAKEN: round(peak / 2**20, 1)}


class Disturbance:
    """CPU time taken by others since this object was made, as the kernel counts it.

    The kernel counts in ticks of 10 ms: only sums over many spans are exact, and the seconds of
    one span may be below 0.
    """

    def __init__(self) -> None:
        self._begun = _cpu_seconds()

    def seconds(self) -> dict[str, float]:
        """Seconds of all cores, of other processes, of the hypervisor; empty without /proc/stat."""
        begun, ended = self._begun, _cpu_seconds()
        return {name: round(ended[name] - begun[name], 4) for name in ended}


def _cpu_seconds() -> dict[str, float]:
    """Seconds so far: of all cores, of all other processes, and stolen by the hypervisor."""
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
    """Versions of the packages that measured figures depend on."""
    return {name: version(name) for name in _PACKAGES}


def commit() -> str:
    """Commit of the working directory, with ``-dirty`` where tracked files differ from it."""
    head = _git(_ROOT, "rev-parse", "HEAD")
    if not head:
        return "unknown"
    return head + ("-dirty" if _git(_ROOT, "status", "--porcelain", "--untracked-files=no") else "")


def source_hash(root: Path = _ROOT) -> str:
    """Hash of the sources that rows and timings come from, committed or not: the methods, the trees
    that they read, and the parts of the harness that run and time them.
    """
    digest = hashlib.sha256()
    for place in (*(root / "harness" / part for part in _MEASURED), root / "methods"):
        files = [place] if place.is_file() else [*place.rglob("*.py"), *place.rglob("*.txt")]
        for file in sorted(files):
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
    lines = _CPUINFO.read_text().splitlines() if _CPUINFO.is_file() else []
    fields = {key.strip(): text.strip() for key, _, text in (line.partition(":") for line in lines)}
    if "model name" in fields:
        return fields["model name"]
    # An ARM CPU has numbers in place of a name.
    numbers = [f"{name} {fields[name]}" for name in _ARM if name in fields]
    return ", ".join(numbers) or platform.processor() or platform.node() or "unknown"


def _number(path: Path, scale: float) -> float | None:
    try:
        return round(int(path.read_text()) * scale, 1)
    except (OSError, ValueError):
        return None
