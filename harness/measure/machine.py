"""What ran where: the machine's fingerprint, its state while running, and what was installed."""

import hashlib
import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

_PACKAGES = ("torch", "transformers", "datasets", "medusa-llm", "pandas", "numpy", "snakemake")


def machine(device: torch.device) -> dict[str, Any]:
    """Facts that must agree for two timings to be compared."""
    facts: dict[str, Any] = {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "device": str(device),
        "threads": torch.get_num_threads(),
        "blas": "mkl" if torch.backends.mkl.is_available() else "other",
        "torch": torch.__version__,
    }
    if device.type == "cuda":
        facts["gpu"] = torch.cuda.get_device_name(device)
        facts["cuda"] = torch.version.cuda
    return facts


def fingerprint(facts: dict[str, Any]) -> str:
    """Short hash of :func:`machine`; rows that differ in it never share a speedup."""
    text = "|".join(f"{key}={facts[key]}" for key in sorted(facts))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def device_state(device: torch.device) -> dict[str, float]:
    """Load, clock and temperature where they can be read; absent where not."""
    state = {"load1": round(os.getloadavg()[0], 2)}
    clock = _number(Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq"), 1e-3)
    temperature = _number(Path("/sys/class/thermal/thermal_zone0/temp"), 1e-3)
    if clock is not None:
        state["cpu_mhz"] = clock
    if temperature is not None:
        state["celsius"] = temperature
    if device.type == "cuda":
        state["gpu_memory_mb"] = round(torch.cuda.memory_allocated(device) / 2**20, 1)
    return state


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
    """Hash of the harness' and the methods' sources and the trees they read, committed or not."""
    root = Path(__file__).resolve().parents[2]
    digest = hashlib.sha256()
    for folder in ("harness", "methods"):
        kinds = ("*.py", "*.txt")
        for file in sorted(file for kind in kinds for file in (root / folder).rglob(kind)):
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
