"""Kill stages of the smoke experiment at random moments and compare what they end with.

python -m tests.faults --folder FOLDER --kills 20 --seed 0 [--stage session]

The experiment runs in FOLDER first, if it has not. Half of the kills come at a uniformly random
moment of the stage's usual duration, the others right after its files have changed.
"""

import argparse
import sys
from pathlib import Path

from tests.faults.kills import kill_often
from tests.faults.stages import JOBS, finish_smoke, smoke_stages, target_stage


def main() -> int:
    """One line a stage; exit code 1 where a kill was not survived."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--folder", required=True, type=Path)
    parser.add_argument("--stage", choices=["target", *JOBS], nargs="+")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    folder = options.folder.resolve()
    (folder / "smoke").mkdir(parents=True, exist_ok=True)
    finish_smoke(folder / "smoke")
    stages = smoke_stages(folder / "smoke", folder / "work")
    stages["target"] = target_stage(folder / "work/target")
    failed = False
    for name in options.stage or stages:
        outcome = kill_often(stages[name], options.kills, options.seed)
        print(outcome, flush=True)
        failed |= outcome.survived < outcome.attempted
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
