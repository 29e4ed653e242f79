"""Whether the workflow's jobs would run in the environment that runs the workflow."""

import importlib.util
import shutil
import subprocess
import sys

# What jobs need and a Snakemake of another environment is likely to lack.
NEEDED = ("torch", "transformers", "pandas")


def unfit() -> str | None:
    """One line on why jobs would fail for their environment; None where they would not.

    Jobs call ``python``: what stands first on the PATH must be the Python that runs Snakemake.
    """
    found = shutil.which("python")
    if found is None:
        return "no 'python' on the PATH; activate the environment that firp-bench is installed in"
    asked = [found, "-c", "import sys; print(sys.prefix)"]
    prefix = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    if prefix != sys.prefix:
        return (
            f"'python' on the PATH is of {prefix or found}, but snakemake runs in {sys.prefix}; "
            "activate that environment"
        )
    lacking = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if lacking:
        return (
            f"{sys.prefix} has no {', '.join(lacking)}; activate the environment that firp-bench "
            "is installed in"
        )
    return None
