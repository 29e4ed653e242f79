"""Tables from rows made by hand: pairing of models, causes of divergence, counts, refusals."""

import json
import math
from pathlib import Path

import pandas as pd
import pytest

from harness.analysis.tables import write_tables
from harness.errors import HarnessError
from harness.files import write_json

ARMS = ("autoregressive", "autoregressive_again", "fast")
SESSIONS, QUESTIONS = 2, 4
ANSWER = list(range(10, 31))  # 21 tokens: one from the prefill, 20 from decode steps


def _steps(arm: str) -> dict:
    """``fast`` accepts 3 drafts of 4 a step: 4 tokens in each of 5 decode steps."""
    if arm == "fast":
        path = [[]] + [[1, 2, 3]] * 5
        return {
            "step_tokens": [1] + [4] * 5,
            "step_draft_size": [0] + [4] * 5,
            "step_rows": [1] + [5] * 5,
            "step_path": path,
        }
    ones = [1] * len(ANSWER)
    return {
        "step_tokens": ones,
        "step_draft_size": [0] * len(ANSWER),
        "step_rows": ones,
        "step_path": [[] for _ in ones],
    }


def _row(model: str, session: int, question: int, arm: str, seconds: float) -> dict:
    return {
        "model": model,
        "dataset": "gsm8k",
        "session": session,
        "prompt_id": f"gsm8k/{question}",
        "question_id": f"gsm8k/{question}",
        "arm": arm,
        "ids_sha256": f"{model}-{question}",
        "output_ids": ANSWER,
        "text": "so #### 7",
        "prefill_seconds": 0.1,
        "decode_seconds": seconds,
        "fingerprint": "one machine",
        "divergence": None,
        **_steps(arm),
    }


def _write_experiment(root: Path, models: dict[str, float], change=None) -> dict:
    """Rows of ``models``: name -> decode seconds of autoregressive over those of ``fast``."""
    for model, speedup in models.items():
        for session in range(1, SESSIONS + 1):
            rows = [
                _row(model, session, q, arm, 1.0 / (speedup if arm == "fast" else 1.0))
                for q in range(QUESTIONS)
                for arm in ARMS
            ]
            for row in rows:
                if change:
                    change(row)
            file = root / "runs" / model / "gsm8k" / f"session-{session}.jsonl"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("".join(json.dumps(row) + "\n" for row in rows))
            provenance = {
                **dict.fromkeys(("commit", "sources", "machine", "packages"), "x"),
                "dtype": "float32",
                "parameters": 1,
                "lossless": dict.fromkeys(ARMS, True),
                "reference": {arm: arm != "fast" for arm in ARMS},
                "extra_bytes": dict.fromkeys(ARMS, 0),
            }
            write_json(file.with_suffix(".provenance.json"), provenance)
        prompts = root / "prompts" / model
        prompts.mkdir(parents=True, exist_ok=True)
        lines = [
            {"prompt_id": f"gsm8k/{q}", "sha256": f"{model}-{q}", "reference": "#### 7"}
            for q in range(QUESTIONS)
        ]
        (prompts / "gsm8k.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
        write_json(prompts / "gsm8k.dropped.json", {"dropped_questions": 1})
    return {
        "experiment": "made",
        "dtype": "float32",
        "sessions": SESSIONS,
        "models": list(models),
        "datasets": {"gsm8k": {}},
        "methods": list(ARMS),
        "draft_sizes": [],
    }


def test_two_models_keep_their_own_figures(tmp_path):
    write_tables(_write_experiment(tmp_path, {"small": 2.0, "large": 3.0}), tmp_path)
    speedup = pd.read_csv(tmp_path / "tables/speedup.csv", index_col="method")
    assert speedup.loc["fast", "small/gsm8k"] == pytest.approx(2.0)
    assert speedup.loc["fast", "large/gsm8k"] == pytest.approx(3.0)
    summary = pd.read_csv(tmp_path / "tables/summary.csv")
    assert list(summary["method"]) == [*ARMS, *ARMS]
    facts = json.loads((tmp_path / "tables/facts.json").read_text())
    assert facts["dropped_questions"] == {"gsm8k": 2}
    assert set(facts["a_a"]) == {"small/gsm8k", "large/gsm8k"}


def test_counts_leave_the_prefill_token_out(tmp_path):
    write_tables(_write_experiment(tmp_path, {"small": 2.0}), tmp_path)
    fast = pd.read_csv(tmp_path / "tables/summary.csv").set_index("method").loc["fast"]
    assert fast["acceptance_length"] == 4  # 21 / 6 with the prefill's token
    assert fast["draft_size"] == 4
    assert fast["rows_per_step"] == 5
    assert fast["accuracy"] == 1
    depths = pd.read_csv(tmp_path / "tables/acceptance_by_depth.csv")
    assert list(depths["unconditional"]) == [1, 1, 1]


def _differs(margin: float):
    def change(row: dict) -> None:
        if row["arm"] == "fast" and row["prompt_id"] == "gsm8k/2":
            row["divergence"] = {"index": 5, "margin": margin}

    return change


@pytest.mark.parametrize(
    ("margin", "cause"), [(0.0, "exact tie"), (5e-5, "numerical"), (-5e-5, "numerical")]
)
def test_a_difference_within_rounding_is_listed(tmp_path, margin, cause):
    write_tables(_write_experiment(tmp_path, {"small": 2.0}, _differs(margin)), tmp_path)
    listed = pd.read_csv(tmp_path / "tables/divergences.csv")
    assert set(listed["cause"]) == {cause}
    assert len(listed) == SESSIONS


@pytest.mark.parametrize("margin", [2e-4, -0.5, math.inf])
def test_a_difference_that_no_rounding_explains_fails_the_run(tmp_path, margin):
    experiment = _write_experiment(tmp_path, {"small": 2.0}, _differs(margin))
    with pytest.raises(HarnessError, match=r"fast: 2 answers differ .* gsm8k/2 token 5"):
        write_tables(experiment, tmp_path)
    assert (tmp_path / "tables/divergences.csv").is_file()


def test_a_looping_baseline_shows_no_speedup(tmp_path):
    def loop(row: dict) -> None:
        row["output_ids"] = [1] * len(ANSWER)

    write_tables(_write_experiment(tmp_path, {"small": 2.0}, loop), tmp_path)
    speedup = pd.read_csv(tmp_path / "tables/speedup.csv", index_col="method")
    assert math.isnan(speedup.loc["fast", "small/gsm8k"])
    assert pd.read_csv(tmp_path / "tables/question_speedup.csv").empty


def _other_ids(row: dict) -> None:
    if row["arm"] == "fast":
        row["ids_sha256"] = "other"


def _other_machine(row: dict) -> None:
    if row["session"] == 2:
        row["fingerprint"] = "another machine"


def _lost_steps(row: dict) -> None:
    row["step_tokens"] = row["step_tokens"][:-1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_other_ids, "different token ids"),
        (_other_machine, "2 machines, expected 1"),
        (_lost_steps, "steps hold"),
    ],
)
def test_rows_that_do_not_belong_together_are_refused(tmp_path, change, message):
    with pytest.raises(HarnessError, match=message):
        write_tables(_write_experiment(tmp_path, {"small": 2.0}, change), tmp_path)
