"""The quality of whole answers, and the sentence that tells it."""

import json
import math
from pathlib import Path

import pandas as pd
import pytest
from scipy import stats

from harness.__main__ import main
from harness.analysis.uncut import uncut
from harness.data.prompts import Prompt, hash_ids, write_prompts
from harness.experiment.folder import Folder
from harness.files import read_jsonl, write_jsonl
from harness.presentation.explain import uncut_lines


def line(dataset: str, number: int, **other: object) -> dict[str, object]:
    given = {"text": "so #### 7", "reference": "#### 7", "output_ids": [1, 2, 3], "ended": True}
    return {"prompt_id": f"{dataset}/{number}/1", "dataset": dataset, **given, **other}


def written(root: Path) -> Folder:
    looping = {"output_ids": list(range(8)) * 4, "ended": False, "text": "no number"}
    lines = [line("gsm8k", 0), line("gsm8k", 1), line("gsm8k", 2), line("gsm8k", 3, **looping)]
    lines += [line("mtbench", n, reference=None) for n in range(2)]
    write_jsonl(Folder(root).uncut("mini"), lines)
    return Folder(root)


def test_whole_answers_are_scored_with_an_interval(tmp_path: Path) -> None:
    table = uncut(written(tmp_path), ["mini", "absent"]).set_index("dataset")
    found = table.loc["gsm8k"]
    assert (found["prompts"], found["quality"]) == (4, 0.75)
    wilson = stats.binomtest(3, 4).proportion_ci(method="wilson")
    assert found["quality_low"] == pytest.approx(wilson.low)
    assert found["quality_high"] == pytest.approx(wilson.high)
    assert (found["ended_rate"], found["loop_rate"]) == (0.75, 0.25)
    assert found["tokens"] == (3 * 3 + 32) / 4
    assert math.isnan(table.loc["mtbench", "quality"]), "a set without a measure"


def test_scores_between_0_and_1_have_student_s_interval(tmp_path: Path) -> None:
    texts = ["a b c d", "a b x y", "c d a b", "q r"]
    lines = [line("xsum", n, text=text, reference="a b c d") for n, text in enumerate(texts)]
    write_jsonl(Folder(tmp_path).uncut("mini"), lines)
    (found,) = uncut(Folder(tmp_path), ["mini"]).to_dict("records")
    assert 0 < found["quality"] < 1
    assert found["quality_low"] < found["quality"] < found["quality_high"]


def test_the_sentence_says_the_figures(tmp_path: Path) -> None:
    folder = written(tmp_path)
    folder.tables.mkdir()
    uncut(folder, ["mini"]).to_csv(folder.table("uncut"), index=False)
    (told,) = uncut_lines(folder, "gsm8k", same=True)
    (drawn,) = uncut_lines(folder, "gsm8k", same=False)
    theirs = " A lossless method's answers, and so their quality, are the target's."
    assert told == drawn + theirs
    assert told.startswith(
        "4 test prompts answered untimed, under a cap of their own: mini's greedy"
    )
    assert "75 % end by themselves, 25 % loop; accuracy 0.750" in told
    (other,) = uncut_lines(folder, "mtbench", same=True)
    assert other.endswith("Their quality is not measured.")
    assert uncut_lines(Folder(tmp_path / "none"), "gsm8k", same=True) == []


def test_the_command_writes_texts_and_whether_they_ended(tmp_path: Path) -> None:
    ids = (5, 6, 7)
    asked = Prompt("gsm8k/0/1", "0", "gsm8k", "math", 1, "?", ids, hash_ids(ids), "#### 1")
    prompts, out = tmp_path / "prompts.jsonl", tmp_path / "uncut.jsonl"
    write_prompts(prompts, [asked], 0)
    model = json.dumps({"path": "workflows/resources/mini-target"})
    given = ["--model", model, "--prompts", str(prompts), "--out", str(out)]
    assert main(["--threads", "1", "uncut", *given, "--caps", '{"gsm8k": 2}']) == 0
    (cut,) = read_jsonl(out)
    assert len(cut["output_ids"]) == 2
    assert (cut["ended"], cut["reference"]) == (False, "#### 1")
    assert main(["--threads", "1", "uncut", *given, "--caps", '{"gsm8k": 400}']) == 0
    (whole,) = read_jsonl(out)
    assert whole["output_ids"][:2] == cut["output_ids"]
    assert whole["ended"] == (len(whole["output_ids"]) < 400)
    assert pd.notna(whole["text"])
