"""A Slurm of one node on loopback, for tests: up, asked for its jobs, and down again."""

import importlib.util
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

ETC = Path("/etc/slurm")  # jobs and daemons read it there whatever SLURM_CONF says
MARK = "# Written by the tests of firp-bench; safe to remove when none runs.\n"
PORT = 6817
CPUS = 2
CONF = """\
ClusterName=loopback
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MinJobAge=3600
ReturnToService=2
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} Gres=gpu:1
PartitionName=local Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
GRES = "NodeName={host} Name=gpu File=/dev/null\n"


@dataclass(frozen=True, slots=True)
class Job:
    """What the controller remembers of a finished job."""

    rule: str
    state: str
    start: datetime
    end: datetime
    cpus: int
    shares: str  # "NO" where the job had its node to itself


def unavailable() -> str:
    """Why no Slurm can be brought up here; empty where one can."""
    if os.geteuid() != 0:
        return "needs root"
    programs = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "sinfo", "setpriv")
    missing = [name for name in programs if shutil.which(name) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    if importlib.util.find_spec("snakemake_executor_plugin_slurm") is None:
        return "the extra [slurm] is not installed"
    conf = ETC / "slurm.conf"
    if conf.exists() and not conf.read_text().startswith(MARK):
        return f"{conf} belongs to a cluster"
    with suppress(OSError), socket.create_connection(("127.0.0.1", PORT), timeout=1):
        return f"something listens on port {PORT}"
    return "" if (os.cpu_count() or 1) >= CPUS else f"needs {CPUS} CPUs"


@contextmanager
def running_slurm() -> Iterator[None]:
    """Slurm with its state in a temporary folder; every daemon is gone when the block ends."""
    host = socket.gethostname().split(".")[0]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="slurm-")))
        folder.chmod(0o755)  # munged refuses a socket that not everybody can reach
        key, sock = folder / "munge.key", folder / "munge.socket"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        munge = [f"--{kind}-file={folder}/munge.{kind}" for kind in ("key", "pid", "log", "seed")]
        stack.enter_context(_daemon(folder, "munged", "--foreground", f"--socket={sock}", *munge))
        _wait(sock.exists, lambda: f"munged's socket; {_tails(folder)}")
        stack.callback(_remove_conf)
        _write_conf(folder, host)
        stack.enter_context(_daemon(folder, "slurmctld", "-D"))
        stack.enter_context(_daemon(folder, "slurmd", "-D", "-N", host))
        stack.callback(_cancel_all)
        idle = ("sinfo", "--noheader", "-o", "%T")
        _wait(lambda: _said(*idle) == "idle", lambda: f"an idle node; {_tails(folder)}")
        yield


def finished_jobs() -> list[Job]:
    """All jobs in the order of their ids; the rule is in the comment that the executor gives."""
    text = _said("scontrol", "show", "job", "--oneliner")
    return [_job(line) for line in text.splitlines() if line.startswith("JobId=")]


def _job(line: str) -> Job:
    found = dict(re.findall(r"(\S+?)=(\S*)", line))
    rule = re.match(r"rule_(.+?)(_wildcards_|$)", found["Comment"])
    assert rule is not None, line
    return Job(
        rule=rule[1],
        state=found["JobState"],
        start=datetime.fromisoformat(found["StartTime"]),
        end=datetime.fromisoformat(found["EndTime"]),
        cpus=int(found["NumCPUs"]),
        shares=found["OverSubscribe"],
    )


def _write_conf(folder: Path, host: str) -> None:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    facts = {"host": host, "folder": folder, "port": PORT, "cpus": CPUS, "memory": memory}
    (folder / "state").mkdir()
    (folder / "spool").mkdir()
    ETC.mkdir(exist_ok=True)
    (ETC / "slurm.conf").write_text(MARK + CONF.format(**facts))
    (ETC / "gres.conf").write_text(MARK + GRES.format(**facts))


def _remove_conf() -> None:
    for name in ("slurm.conf", "gres.conf"):
        (ETC / name).unlink(missing_ok=True)


@contextmanager
def _daemon(folder: Path, *command: str) -> Iterator[None]:
    """A daemon in the foreground; it also ends when this process is killed."""
    with (folder / f"{command[0]}.out").open("wb") as out:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", *command], stdout=out, stderr=subprocess.STDOUT
        )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _cancel_all() -> None:
    """No job outlives the daemons, which would leave its processes behind."""
    subprocess.run(["scancel", "--partition=local"], capture_output=True, check=False)
    with suppress(AssertionError):
        _wait(lambda: not _said("squeue", "--noheader", "--states=R,CG,PD"), lambda: "no job left")


def _said(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _tails(folder: Path) -> str:
    """The last that every daemon printed."""
    return "\n".join(f"{file.name}: {file.read_text()[-500:]}" for file in folder.glob("*.out"))


def _wait(ready: Callable[[], bool], what: Callable[[], str]) -> None:
    deadline = time.monotonic() + 30
    while not ready():
        assert time.monotonic() < deadline, f"waited in vain for {what()}"
        time.sleep(0.2)
