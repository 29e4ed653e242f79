"""Check that the workflow's jobs will run in the same environment as the workflow itself."""

import importlib.util
import shutil
import subprocess
import sys

# Packages that jobs need, and that the environment of another Snakemake is likely to lack.
NEEDED = ("torch", "transformers", "pandas")


def unfit() -> str | None:
    """One line on why jobs would fail in this environment; None if they would not.

    Jobs call ``python``, so the first one on the PATH must be the Python that runs Snakemake.
    """
    python = shutil.which("python")
    if python is None:
        return "no 'python' on the PATH; activate the environment that firp-bench is installed in"
    command = [python, "-c", "import sys; print(sys.prefix)"]
    prefix = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    if prefix != sys.prefix:
        return (
            f"'python' on the PATH is of {prefix or python}, but snakemake runs in {sys.prefix}; "
            "activate that environment"
        )
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        return (
            f"{sys.prefix} has no {', '.join(missing)}; activate the environment that firp-bench "
            "is installed in"
        )
    return None
