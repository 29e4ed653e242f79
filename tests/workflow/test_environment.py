"""Without its environment active, the workflow says so in one line before any job."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness import environment
from tests.workflow.test_smoke import ENVIRONMENT, ROOT, SMOKE


def _dry_run(path: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "snakemake", "-n", *SMOKE],
        cwd=ROOT,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


def test_another_python_first_on_the_path_is_told(tmp_path: Path) -> None:
    other = tmp_path / "python"
    other.write_text("#!/bin/sh\necho /somewhere/else\n")
    other.chmod(0o755)
    done = _dry_run(f"{tmp_path}:{ENVIRONMENT['PATH']}")
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert "'python' on the PATH is of /somewhere/else, but snakemake runs in" in said
    assert "activate that environment" in said
    assert "Traceback" not in said
    assert _dry_run(ENVIRONMENT["PATH"]).returncode == 0, "control"


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", ENVIRONMENT["PATH"])
    assert environment.unfit() is None
    monkeypatch.setattr(environment, "NEEDED", ("torch", "no_such_package"))
    assert "has no no_such_package; activate" in str(environment.unfit())
    monkeypatch.setenv("PATH", "")
    assert str(environment.unfit()).startswith("no 'python' on the PATH")
