"""Tables from rows made by hand: pairing of models, causes of divergence, counts, refusals."""

import json
import math
from pathlib import Path

import pandas as pd
import pytest

from harness.analysis.draft_sizes import reach
from harness.analysis.fairness import _order, as_published, timed_together
from harness.analysis.preparation import Prepared
from harness.analysis.rows import load_rows
from harness.analysis.tables import write_tables
from harness.analysis.twins import twins
from harness.errors import HarnessError
from harness.experiment.folder import Folder
from harness.files import read_json, write_json, write_jsonl
from harness.presentation.figures import write_figures

ARMS = ("autoregressive", "autoregressive_again", "fast")
SESSIONS, QUESTIONS = 2, 4
ANSWER = list(range(10, 31))  # 21 tokens: one from the prefill, 20 from decode steps


def _steps(arm: str) -> dict:
    """``fast`` accepts 3 drafts of 4 a step: 4 tokens in each of 5 decode steps."""
    if arm == "fast":
        return _counted([1] + [4] * 5, drafts=4)
    return _counted([1] * len(ANSWER), drafts=0)


def _counted(tokens: list[int], drafts: int) -> dict:
    """Steps that commit so many tokens each; the first drafts nothing."""
    sizes = [0, *[drafts] * (len(tokens) - 1)]
    return {
        "step_tokens": tokens,
        "step_draft_size": sizes,
        "step_rows": [1 + size for size in sizes],
        "step_path": [list(range(1, count)) for count in tokens],
    }


def _state(others: float) -> dict:
    """Two cores for a second, of which others took so many seconds."""
    return {"load1": 1.0, "cores_seconds": 2.0, "others_seconds": others, "stolen_seconds": 0.01}


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
        "distance": None,
        "fingerprint": "one machine",
        "stop_reason": "cap",
        "order": (ARMS.index(arm) + question + session) % len(ARMS),
        "divergence": None,
        "device_state": _state(others=0.01),
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
                "lossless": dict.fromkeys((*ARMS, "width_matched"), True),
                "uses": {},
                "trained": dict.fromkeys((*ARMS, "width_matched"), True),
                "tuned": dict.fromkeys((*ARMS, "width_matched"), True),
                "reference": {arm: arm != "fast" for arm in (*ARMS, "width_matched")},
                "extra_bytes": dict.fromkeys((*ARMS, "width_matched"), 0),
            }
            write_json(file.with_suffix(".provenance.json"), provenance)
        prompts = root / "prompts" / model
        prompts.mkdir(parents=True, exist_ok=True)
        lines = [
            {
                "prompt_id": f"gsm8k/{q}",
                "category": ("odd", "even")[q % 2],
                "sha256": f"{model}-{q}",
                "reference": "#### 7",
            }
            for q in range(QUESTIONS)
        ]
        (prompts / "gsm8k.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
        write_json(prompts / "gsm8k.dropped.json", {"dropped_questions": 1})
    return {
        "experiment": "made",
        "dtype": "float32",
        "sessions": SESSIONS,
        "models": list(models),
        "datasets": {"gsm8k": {"max_new_tokens": len(ANSWER)}},
        "warmup": 2,
        "methods": list(ARMS),
        "draft_sizes": {"methods": []},
    }


def test_two_models_keep_their_own_figures(tmp_path):
    write_tables(_write_experiment(tmp_path, {"small": 2.0, "large": 3.0}), tmp_path)
    speedup = pd.read_csv(tmp_path / "tables/speedup.csv", index_col="method")
    assert speedup.loc["fast", "small/gsm8k"] == pytest.approx(2.0)
    assert speedup.loc["fast", "large/gsm8k"] == pytest.approx(3.0)
    summary = pd.read_csv(tmp_path / "tables/summary.csv")
    assert list(summary["method"]) == [*ARMS, *ARMS]
    facts = json.loads((tmp_path / "tables/facts.json").read_text())
    assert facts["dropped_questions"] == {"small/gsm8k": 1, "large/gsm8k": 1}
    assert facts["parameters"] == {"small": 1, "large": 1}
    assert set(facts["a_a"]) == {"small", "large"}


@pytest.mark.parametrize("key", ["weights", "methods", "prompts"])
def test_sessions_of_one_model_had_one_target(tmp_path, key):
    experiment = _write_experiment(tmp_path, {"small": 2.0, "large": 3.0})
    for file in tmp_path.glob("runs/large/**/*.provenance.json"):
        write_json(file, read_json(file) | {key: "its own"})
    write_tables(experiment, tmp_path)  # control: models differ in them
    file = next(tmp_path.glob("runs/small/**/*.provenance.json"))
    write_json(file, read_json(file) | {key: "another"})
    with pytest.raises(HarnessError, match=f"sessions of small.* differ in {key}"):
        write_tables(experiment, tmp_path)


def test_models_may_run_in_other_ways_but_not_on_other_machines(tmp_path):
    """Packed and full weights, say: how a target is multiplied belongs to the target."""
    experiment = _write_experiment(tmp_path, {"small": 2.0, "large": 3.0})
    host = {"cpu": "one", "gpu": "H, H", "products": "plain"}
    for model, facts in (("small", host), ("large", host | {"products": "stock", "gpu": "H"})):
        for file in tmp_path.glob(f"runs/{model}/**/*.provenance.json"):
            write_json(file, read_json(file) | {"machine": facts})
    write_tables(experiment, tmp_path)  # control
    for change in ({"cpu": "two"}, {"gpu": "A"}):
        for file in tmp_path.glob("runs/large/**/*.provenance.json"):
            write_json(file, read_json(file) | {"machine": host | change})
        with pytest.raises(HarnessError, match="sessions differ in machine"):
            write_tables(experiment, tmp_path)
    for file in tmp_path.glob("runs/large/**/*.provenance.json"):
        write_json(file, read_json(file) | {"machine": host})
    file = next(tmp_path.glob("runs/small/**/*.provenance.json"))
    write_json(file, read_json(file) | {"machine": host | {"products": "onednn"}})
    with pytest.raises(HarnessError, match="sessions of small differ in machine"):
        write_tables(experiment, tmp_path)


def test_heads_are_held_against_their_authors(tmp_path):
    config = tmp_path / "methods/vicuna-7b/medusa/config.json"
    for top1, holds in (([0.6, 0.4, 0.3, 0.2], True), ([0.6, 0.3, 0.3], False)):
        write_json(config, {"top1": top1})
        prepared = Prepared(Folder(tmp_path), {})  # reads each file once
        (check,) = as_published(prepared, ["vicuna-7b"])
        assert check["holds"] is holds
        assert check["detail"].startswith("ours 0.600 (0.560), ")
    assert as_published(prepared, ["mini"]) == [], "nothing is published"
    write_json(config, {"pretrained": "theirs"})
    assert as_published(Prepared(Folder(tmp_path), {}), ["vicuna-7b"]) == []


def test_whether_costs_and_rows_are_of_one_machine_is_told(tmp_path):
    experiment = _write_experiment(tmp_path, {"small": 2.0})
    write_tables(experiment, tmp_path)
    rows = load_rows(Folder(tmp_path).row_files(experiment))[0]
    (here,) = set(rows["fingerprint"])
    spent = tmp_path / "methods/small/fast/spent.json"
    for fingerprint, holds in (
        ({"fingerprint": here}, True),
        ({}, None),
        ({"fingerprint": "other"}, False),
    ):
        write_json(spent, {"tuning_seconds": 1.0} | fingerprint)
        assert timed_together(Prepared(Folder(tmp_path), {}), ARMS, rows)["holds"] is holds
    assert timed_together(Prepared(Folder(tmp_path), {}), ARMS[:2], rows)["holds"] is True, (
        "no longer an arm"
    )


def test_counts_leave_the_prefill_token_out(tmp_path):
    write_tables(_write_experiment(tmp_path, {"small": 2.0}), tmp_path)
    fast = pd.read_csv(tmp_path / "tables/summary.csv").set_index("method").loc["fast"]
    assert fast["acceptance_length"] == 4  # 21 / 6 with the prefill's token
    assert fast["draft_size"] == 4
    assert fast["rows_per_step"] == 5
    assert fast["accuracy"] == 1
    depths = pd.read_csv(tmp_path / "tables/acceptance_by_depth.csv")
    assert list(depths["unconditional"]) == [1, 1, 1]


def test_an_answer_is_compared_with_the_baseline_s_of_its_session(tmp_path):
    """Where the baseline itself says something else in another session, as GPUs may."""

    def change(row: dict) -> None:
        wrong = row["arm"] == "autoregressive_again" and row["prompt_id"] == "gsm8k/1"
        if row["session"] == 2 or wrong:
            row["output_ids"] = [*ANSWER[:-1], 99]

    write_tables(_write_experiment(tmp_path, {"small": 2.0}, change), tmp_path)
    same = pd.read_csv(tmp_path / "tables/summary.csv").set_index("method")["exact_match_rate"]
    assert same["autoregressive"] == same["fast"] == 1
    assert same["autoregressive_again"] == 1 - 1 / (SESSIONS * QUESTIONS)


def test_tables_of_an_earlier_config_do_not_stay(tmp_path):
    experiment = _write_experiment(tmp_path, {"small": 2.0})
    stale = [tmp_path / "tables" / f"{name}.csv" for name in ("draft_size_curve", "cost_model")]
    stale[0].parent.mkdir()
    for file in stale:
        file.write_text("old")
    write_tables(experiment, tmp_path)
    assert not any(file.exists() for file in stale)
    assert (tmp_path / "tables/speedup.csv").exists(), "control"


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
    assert listed["width_matched"].isna().all()


def test_width_explains_what_it_does_itself(tmp_path):
    def change(row: dict) -> None:
        row["arm"] = {"autoregressive_again": "width_matched"}.get(row["arm"], row["arm"])
        at = {"fast": {"gsm8k/1": 5, "gsm8k/2": 5}, "width_matched": {"gsm8k/1": 5, "gsm8k/2": 6}}
        index = at.get(row["arm"], {}).get(row["prompt_id"])
        row["divergence"] = index and {"index": index, "margin": 0.0}

    write_tables(_write_experiment(tmp_path, {"small": 2.0}, change), tmp_path)
    listed = pd.read_csv(tmp_path / "tables/divergences.csv").query("arm == 'fast'")
    assert set(listed[listed["width_matched"]]["prompt_id"]) == {"gsm8k/1"}
    assert set(listed[~listed["width_matched"]]["prompt_id"]) == {"gsm8k/2"}


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


def test_a_looping_arm_shows_no_speedup_of_its_own(tmp_path):
    def loop(row: dict) -> None:
        if row["arm"] == "fast":
            row["output_ids"] = [1] * len(ANSWER)

    write_tables(_write_experiment(tmp_path, {"small": 2.0}, loop), tmp_path)
    speedup = pd.read_csv(tmp_path / "tables/speedup.csv", index_col="method")["small/gsm8k"]
    assert list(speedup.index[speedup.isna()]) == ["fast"]


def _other_ids(row: dict) -> None:
    if row["arm"] == "fast":
        row["ids_sha256"] = "other"


def _other_machine(row: dict) -> None:
    if row["session"] == 2:
        row["fingerprint"] = "another machine"


def _same_prompt_twice(row: dict) -> None:
    if row["arm"] == "fast" and row["prompt_id"] == "gsm8k/1":
        row.update(prompt_id="gsm8k/2", ids_sha256="small-2")


def _lost_steps(row: dict) -> None:
    for name in row:
        if name.startswith("step_"):
            row[name] = row[name][:-1]


def _lost_counts(row: dict) -> None:
    row["step_tokens"] = row["step_tokens"][:-1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_other_ids, "different token ids"),
        (_same_prompt_twice, "every prompt once a session"),
        (_other_machine, "2 machines, expected 1"),
        (_lost_steps, "steps hold"),
        (_lost_counts, "expected equal lengths"),
    ],
)
def test_rows_that_do_not_belong_together_are_refused(tmp_path, change, message):
    with pytest.raises(HarnessError, match=message):
        write_tables(_write_experiment(tmp_path, {"small": 2.0}, change), tmp_path)


def test_a_step_s_cost_and_the_tokens_that_pay_training_back(tmp_path):
    folder = tmp_path / "methods/small/fast"
    write_json(folder / "config.json", {"training_seconds": 30.0, "trainable_parameters": 7})
    spent = {"training_seconds": 30.0, "tuning_seconds": 10.0, "budget_seconds": 50.0}
    write_json(folder / "spent.json", spent)
    (folder / "trials.csv").write_text(
        "role,drafts,requests,speedup,acceptance_length,predicted_acceptance_length\n"
        "default,63,4,1.5,4.0,\nchosen,8,4,1.9,3.0,\n,2,1,2.9,3.0,\n"
    )
    (tmp_path / "profile").mkdir()
    (tmp_path / "profile/small.csv").write_text(
        "dataset,method,requests,decode_steps,timed_seconds,decode_seconds,prefill,draft,tree,"
        "forward,choose,commit\n"
        "gsm8k,fast,1,4,0.9,0.8,0.1,0.2,0.1,0.5,0,0\n"
        "xsum,fast,3,5,1.0,1.2,0.2,0.3,0,0.5,0.2,0.1\n"
    )
    write_tables(_write_experiment(tmp_path, {"small": 2.0}), tmp_path)
    summary = pd.read_csv(tmp_path / "tables/summary.csv").set_index("method")
    fast = summary.loc["fast"]
    # 0.5 s for 5 steps against 1 s for 20
    assert fast["step_cost"] == pytest.approx((0.5 / 5) / (1.0 / 20))
    assert fast["speedup"] == pytest.approx(fast["acceptance_length"] / fast["step_cost"])
    assert fast["draft_share"] == 0.25
    split = pd.read_csv(tmp_path / "tables/phases.csv").iloc[0]
    assert split["timed_ms"] == pytest.approx(1900 / 9)
    assert split["forward_ms"] == pytest.approx(1000 / 9)
    assert split["prefill_ms"] == pytest.approx(300 / 4)
    assert split["between_share"] == pytest.approx(0.1 / 2.0)
    assert split["profiled_over_timed"] == pytest.approx(2.0 / 1.9, rel=1e-5)
    # 1/20 s saved on a token of 1/20 s, at twice the speed: 40 s are 1600 tokens
    assert fast["break_even_tokens"] == pytest.approx(40 / (1 / 20 - 1 / 40))
    assert summary.loc["autoregressive_again", ["break_even_tokens", "draft_share"]].isna().all()
    prepared = pd.read_csv(tmp_path / "tables/preparation.csv").set_index("method").loc["fast"]
    assert (prepared["default"], prepared["default_speedup"]) == ("drafts 63", 1.5)
    assert (prepared["chosen"], prepared["chosen_speedup"]) == ("drafts 8", 1.9)
    assert (prepared["candidates"], prepared["budget_seconds"]) == (3, 50)


def test_a_default_that_was_timed_on_other_prompts_has_no_speed(tmp_path):
    def default_speedup(requests: int) -> float:
        root = tmp_path / f"{requests}"
        folder = root / "methods/small/fast"
        write_json(folder / "config.json", {})
        (folder / "trials.csv").write_text(
            "role,drafts,requests,speedup,acceptance_length,predicted_acceptance_length\n"
            f"default,63,{requests},1.5,4.0,\nchosen,8,4,1.9,3.0,\n"
        )
        write_tables(_write_experiment(root, {"small": 2.0}), root)
        return float(pd.read_csv(root / "tables/preparation.csv")["default_speedup"].iloc[0])

    assert default_speedup(4) == 1.5, "control"
    assert math.isnan(default_speedup(1))


def test_an_unused_method_s_folder_and_an_old_curve_are_left_out(tmp_path):
    write_json(tmp_path / "methods/small/other/spent.json", {"tuning_seconds": 1.0})
    (tmp_path / "curve").mkdir()
    (tmp_path / "curve/small.csv").write_text("method,draft_size\n")
    write_tables(_write_experiment(tmp_path, {"small": 2.0}), tmp_path)
    assert pd.read_csv(tmp_path / "tables/preparation.csv").empty
    assert not (tmp_path / "tables/draft_size_curve.csv").exists()


FAIR = {
    "token ids": None,
    "one cap": lambda row: (
        row.update(output_ids=[*ANSWER, 1], **_counted([1] * 22, drafts=0))
        if row["arm"] == "autoregressive"
        else None
    ),
    "stop rule": lambda row: (
        row.update(output_ids=ANSWER[:-1], **_counted([1, 4, 4, 4, 4, 3], drafts=4))
        if row["arm"] == "fast"
        else None
    ),
    "take turns": lambda row: row.update(order=ARMS.index(row["arm"])),
    "quiet": lambda row: row.update(
        device_state=_state(others=0.2 if row["session"] == 2 else -0.01)
    ),
    "A/A": lambda row: (
        row.update(decode_seconds=1.1) if row["arm"] == "autoregressive_again" else None
    ),
    "own tokens": lambda row: row.update(output_ids=ANSWER[::-1]) if row["arm"] == "fast" else None,
    "loop": lambda row: row.update(output_ids=[1] * 21),
    "longer or shorter": lambda row: (
        row.update(
            output_ids=ANSWER[:-4], **_counted([1, 4, 4, 4, 4], drafts=4), stop_reason="stop"
        )
        if row["arm"] == "fast"
        else None
    ),
}


@pytest.mark.parametrize("broken", FAIR)
def test_what_is_not_fair_is_said(tmp_path, broken):
    """Each check holds on fair rows and fails on rows that break it."""
    experiment = _write_experiment(tmp_path, {"small": 2.0}, FAIR[broken])
    write_tables(experiment, tmp_path)
    found = json.loads((tmp_path / "tables/facts.json").read_text())["checklist"]
    held = {check["what"]: check["holds"] for check in found}
    (name,) = [what for what in held if broken in what]
    assert held[name] == (broken == "token ids")
    entailed = set()
    if broken in (
        "one cap",
        "stop rule",
        "own tokens",
        "longer or shorter",
    ):  # another text for one arm alone
        entailed = {what for what in held if "own tokens" in what or "A/A" in what}
        stops = broken in ("one cap", "longer or shorter")
        entailed |= {what for what in held if "stop rule" in what and stops}
    assert {what for what, holds in held.items() if holds is False} <= {name, *entailed}
    if broken == "token ids":
        assert [what for what, holds in held.items() if holds is None] == [
            what for what in held if "budget" in what
        ], "everything else holds on fair rows"


def test_an_arm_that_fails_late_leaves_the_others_places_alone():
    turns = ("abcd", "bcda", "cdab", "dabc")  # d has no rows: it failed
    rows = [
        {"model": "m", "dataset": "s", "arm": arm, "session": n, "prompt_id": "p", "order": place}
        for n, arms in enumerate(turns)
        for place, arm in enumerate(arms)
        if arm != "d"
    ]
    assert _order(pd.DataFrame(rows))["holds"]
    first = [row | {"order": "abcd".index(row["arm"])} for row in rows]
    assert not _order(pd.DataFrame(first))["holds"], "control: a is always first"


def test_speedups_of_an_arm_whose_answers_loop_are_shown_nowhere(tmp_path):
    def loops(row: dict) -> None:
        if row["arm"] == "fast":
            row.update(output_ids=[1] * 21)

    def shown(root: Path, change=None) -> list[float]:
        write_tables(_write_experiment(root, {"small": 2.0}, change), root)
        defined = pd.read_csv(root / "tables/definitions.csv", index_col="method")
        each = pd.read_csv(root / "tables/question_speedup.csv")
        return [
            *defined.loc["fast", "ratio_of_sums":"mean_of_rates"],
            (each["arm"] == "fast").sum(),
        ]

    *speeds, questions = shown(tmp_path / "fair")
    assert speeds == pytest.approx([2.0] * 3) and questions == QUESTIONS, "control"
    *speeds, questions = shown(tmp_path / "looping", loops)
    assert all(map(math.isnan, speeds)) and questions == 0


def test_whole_answers_of_an_earlier_config_are_left_out(tmp_path):
    answer = {"prompt_id": "gsm8k/0/1", "dataset": "gsm8k", "text": "7", "reference": "#### 7"}
    experiment = _write_experiment(tmp_path, {"small": 2.0})
    write_jsonl(Folder(tmp_path).uncut("small"), [{**answer, "output_ids": [1], "ended": True}])
    write_tables(experiment | {"uncut": ["gsm8k"]}, tmp_path)
    assert len(pd.read_csv(tmp_path / "tables/uncut.csv")) == 1, "control"
    write_tables(experiment, tmp_path)
    assert not (tmp_path / "tables/uncut.csv").exists()


def test_answers_that_go_on_after_a_stop_token_are_not_fair(tmp_path):
    def late(row: dict) -> None:
        """Others stop at token 29; the fast arm goes on to 30."""
        if row["arm"] != "fast":
            steps = _counted([1] * 20, drafts=0)
            row.update(output_ids=ANSWER[:-1], **steps, stop_reason="stop")

    write_tables(_write_experiment(tmp_path, {"small": 2.0}, late), tmp_path)
    found = json.loads((tmp_path / "tables/facts.json").read_text())["checklist"]
    (check,) = [check for check in found if "stop rule" in check["what"]]
    assert check["holds"] is False
    assert "fast" in check["detail"]


def _budget_check(root: Path, config: dict, spent: dict) -> dict:
    """What the list of fairness says of a method that spent so much of a budget of 400 seconds."""
    write_json(root / "methods/small/fast/config.json", config)
    whole = {"budget_seconds": 400.0, "training_budget_seconds": 300.0, **spent}
    write_json(root / "methods/small/fast/spent.json", whole)
    write_tables(_write_experiment(root, {"small": 2.0}), root)
    found = json.loads((root / "tables/facts.json").read_text())["checklist"]
    (check,) = [check for check in found if "budget" in check["what"]]
    return check


@pytest.mark.parametrize(
    ("training", "tuning", "said"),
    [
        (300.0, 130.0, ""),
        (300.0, 150.0, "fast took more"),
        (280.0, 20.0, ""),
        (260.0, 20.0, "fast took less"),
    ],
)
def test_a_method_far_off_its_budget_is_not_fair(tmp_path, training, tuning, said):
    config = {"training_seconds": training}
    check = _budget_check(tmp_path, config, {"tuning_seconds": tuning})
    assert (check["holds"], check["detail"]) == (not said, said)


def test_what_was_trained_elsewhere_is_in_no_budget_of_this_run(tmp_path):
    config = {"training_seconds": 1800.0, "shipped": True}
    spent = {"tuning_seconds": 390.0, "training_budget_seconds": None}
    check = _budget_check(tmp_path, config, spent)
    assert check["holds"]
    assert check["detail"] == "ready-made parts learnt for 1800 to 1800 s"


def test_speed_and_acceptance_by_category(tmp_path):
    write_tables(_write_experiment(tmp_path, {"small": 2.0}), tmp_path)
    table = pd.read_csv(tmp_path / "tables/categories.csv").set_index(["category", "method"])
    assert set(table.index.get_level_values("category")) == {"odd", "even"}
    assert table.loc[("odd", "fast"), "speedup"] == pytest.approx(2.0)
    assert table.loc[("odd", "autoregressive"), "acceptance_length"] == 1
    summary = pd.read_csv(tmp_path / "tables/summary.csv").set_index("method")
    asked = table.xs("fast", level="method")["questions"].sum()
    assert asked == summary.loc["fast", "questions"]


def test_every_pair_of_arms_is_compared(tmp_path):
    write_tables(_write_experiment(tmp_path, {"small": 2.0}), tmp_path)
    table = pd.read_csv(tmp_path / "tables/pairs.csv").set_index(["faster", "slower"])
    assert len(table) == len(ARMS) * (len(ARMS) - 1) / 2
    assert table.loc[("fast", "autoregressive"), "ratio"] == pytest.approx(2.0)


def test_every_definition_from_one_trace(tmp_path):
    def lucky(row: dict) -> None:
        """Question 0 accepts nothing in its last step, drafts nothing, and takes twice as long."""
        if row["arm"] == "fast" and row["prompt_id"] == "gsm8k/0":
            row["output_ids"] = row["output_ids"][:18]
            row["step_tokens"] = [1] + [4] * 4 + [1]
            row["step_draft_size"] = [0] + [4] * 4 + [0]
            row["step_path"] = [[]] + [[1, 2, 3]] * 4 + [[]]
            row["decode_seconds"] *= 2

    write_tables(_write_experiment(tmp_path, {"small": 2.0}, lucky), tmp_path)
    table = pd.read_csv(tmp_path / "tables/definitions.csv").set_index("method")
    fast = table.loc["fast"]
    decoded = [17] + [20] * 3
    assert fast["acceptance_length"] == pytest.approx(sum(decoded) / 20)
    assert fast["with_prefill"] == pytest.approx((sum(decoded) + 4) / 24)
    assert fast["mean_of_answers"] == pytest.approx((17 / 5 + 3 * 4) / 4)
    assert fast["mean_of_answers_with_prefill"] == pytest.approx((18 / 6 + 3 * 21 / 6) / 4)
    assert fast["one_plus_accepted_per_draft"] == pytest.approx(4), "steps without drafts left out"
    assert math.isnan(table.loc["autoregressive", "one_plus_accepted_per_draft"])
    rates = [17 / 1.0] + [20 / 0.5] * 3
    assert fast["ratio_of_sums"] == pytest.approx(sum(decoded) / 2.5 / 20)
    assert fast["geometric_mean"] == pytest.approx(math.prod(r / 20 for r in rates) ** 0.25)
    assert fast["mean_of_rates"] == pytest.approx(sum(rates) / 4 / 20)


def test_the_fewest_drafts_that_accept_as_much():
    lengths = {"a": [2.0, 2.5, 3.0, 3.5], "b": [1.5, 2.1, 2.2, 2.6]}
    curve = pd.DataFrame(
        [
            {"model": "m", "method": name, "draft_size": n, "predicted_acceptance_length": value}
            for name, values in lengths.items()
            for n, value in enumerate(values, start=1)
        ]
    )
    found = reach(curve, [1, 2, 4]).set_index(["method", "other_draft_size"])
    assert list(found.loc["a"]["draft_size"]) == [1, 2, 3]
    assert found.loc[("a", 4), "times_smaller"] == pytest.approx(4 / 3)
    assert list(found.loc["b"]["draft_size"].isna()) == [False, False, True]
    assert found.loc[("b", 1), "draft_size"] == 2
    assert reach(curve[:0], [1]).empty


def _twin_rows(root, drafts):
    """Two sessions of the package and its twin; other paths on one prompt of session 2."""

    def rename(row: dict) -> None:
        names = {"autoregressive_again": "medusa_llm", "fast": "medusa_cartesian"}
        row["arm"] = names.get(row["arm"], row["arm"])
        if row["arm"] == "medusa_llm":
            row |= _steps("fast") | {"step_draft_size": [0] + [drafts] * 5}
            if row["prompt_id"] == "gsm8k/3" and row["session"] == 2:
                row["step_path"] = [[]] + [[1, 2, 4]] * 5

    _write_experiment(root, {"small": 2.0}, rename)
    return load_rows(sorted(root.glob("runs/*/*/*.jsonl")))[0]


def test_twins_are_compared_step_by_step(tmp_path):
    found = twins(_twin_rows(tmp_path, drafts=4))["small/gsm8k"]
    assert (found["runs"], found["same_answers"], found["same_steps"]) == (8, 8, 7)
    assert found["times_as_fast"] == pytest.approx(2.0)


def test_other_trees_are_no_twins(tmp_path):
    assert twins(_twin_rows(tmp_path, drafts=5)) == {}


def test_an_arm_that_the_project_does_not_know_is_drawn(tmp_path):
    write_tables(_write_experiment(tmp_path, {"small": 2.0}), tmp_path)
    write_figures(tmp_path)
    drawn = json.loads((tmp_path / "figures/done.json").read_text())
    assert {"speedup_gsm8k", "question_speedup_gsm8k", "acceptance_gsm8k"} <= set(drawn)
    assert "<!-- fast -->" in (tmp_path / "figures/speedup.svg").read_text()


def test_an_arm_that_one_model_s_profile_left_out_is_drawn_of_the_other(tmp_path):
    experiment = _write_experiment(tmp_path, {"small": 2.0, "large": 3.0})
    counts = "dataset,method,requests,decode_steps,timed_seconds,decode_seconds"
    head = f"{counts},prefill,draft,tree,forward,choose,commit"
    for model, arms in (("small", ARMS), ("large", ARMS[:2])):
        file = tmp_path / "profile" / f"{model}.csv"
        file.parent.mkdir(exist_ok=True)
        lines = [f"gsm8k,{arm},1,10,1.0,1.0,0.1,0.1,0.1,0.5,0.1,0.1" for arm in arms]
        file.write_text("\n".join([head, *lines]) + "\n")
    write_tables(experiment, tmp_path)
    write_figures(tmp_path)
    assert "phases" in json.loads((tmp_path / "figures/done.json").read_text())
