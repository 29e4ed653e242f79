"""Kills at random moments: two of a cheap stage, and controls that must not survive them."""

from pathlib import Path

import pytest

from tests.faults.kills import Stage, kill_often
from tests.faults.same import differences, settled
from tests.faults.stages import dry_run, stand_in_stage

IN_PLACE = """
import time
with open("out/q.jsonl", "w") as out:
    for index in range(60):
        out.write("[1,")
        out.flush()
        time.sleep(0.005)
        out.write(" 2]\\n")
"""
WHOLE_LINES = """
import time
with open("out/q.jsonl", "w") as out:
    for index in range(60):
        out.write("{}\\n")
        out.flush()
        time.sleep(0.005)
"""
APPENDED = """
import time
with open("out/log.txt", "a") as out:
    out.write("begun")
time.sleep(0.3)
"""


def test_a_stage_survives_kills(tmp_path: Path) -> None:
    outcome = kill_often(stand_in_stage(tmp_path / "work"), kills=2, seed=0)
    assert (outcome.attempted, outcome.survived, outcome.faults) == (2, 2, [])


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        (IN_PLACE, "q.jsonl: ValueError"),
        (WHOLE_LINES, "q.jsonl was half there"),
        (APPENDED, "log.txt: differs"),
    ],
)
def test_control_a_writer_in_place_does_not(tmp_path: Path, code: str, fault: str) -> None:
    plain = stand_in_stage(tmp_path / "work")
    command = f"python -c '{code}'"
    stage = Stage("in place", command, plain.work, "out", plain.outputs, plain.anew)
    outcome = kill_often(stage, kills=8, seed=0)
    assert outcome.survived < outcome.attempted
    assert any(fault in told for told in outcome.faults), outcome.faults


def test_commands_are_read_from_what_snakemake_lists() -> None:
    listed = """[Sat Nov 21 12:00:00 2026]
rule answer:
    input: a.jsonl, b.jsonl
    output: answers/train.jsonl
    reason: Forced execution
Shell command: python -m harness answer 2>&1 | tee x.log
localrule freeze:
    output: prompts.jsonl, prompts.dropped.json
Shell command: python -m harness freeze > y.log
"""
    assert dry_run(listed) == [
        (("answers/train.jsonl",), "python -m harness answer 2>&1 | tee x.log"),
        (("prompts.jsonl", "prompts.dropped.json"), "python -m harness freeze > y.log"),
    ]


TRIALS = "role,longest,requests,speedup,acceptance_length\n{},2,{},1.1,{}\n,4,16,1.2,2.5\n"


@pytest.mark.parametrize(
    ("trials", "same"),
    [
        (TRIALS.format("", 16, "2.1"), True),
        (TRIALS.format("chosen", 2, "2.2"), True),  # screened only
        (TRIALS.format("", 16, "2.2"), False),
        (TRIALS.format("", 16, "2.1") + ",5,16,1.2,2.5\n", False),
        (TRIALS.replace(",4,", ",5,").format("", 16, "2.1"), False),
    ],
)
def test_trials_differ_in_their_settings_or_in_what_equally_many_requests_gave(
    tmp_path: Path, trials: str, same: bool
) -> None:
    views = []
    for name, text in (("first", TRIALS.format("", 16, "2.1")), ("second", trials)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "trials.csv").write_text(text)
        views.append(settled(tmp_path / name))
    assert differences(*views) == ([] if same else ["trials.csv: differs"])
