"""Sentences and rows of a report, and what they must not say."""

import math
from pathlib import Path

import pandas as pd
import pytest

from harness.errors import HarnessError
from harness.experiment.folder import Folder
from harness.presentation.explain import (
    best_size_lines,
    budget_lines,
    cost_rows,
    prepared_rows,
    reach_rows,
    size_rows,
    slower_lines,
    speed_rows,
    spread_lines,
)
from harness.presentation.report import _trials, write_report

LINE = {
    "model": "m",
    "method": "lookahead",
    "speedup": 0.9,
    "speedup_ci_high": 0.95,
    "acceptance_length": 1.5,
    "step_cost": 1.67,
    "rows_per_step": 12.0,
    "draft_size": 3.0,
    "draft_share": 0.25,
    "trainable_parameters": math.nan,
    "break_even_tokens": math.nan,
}


def _summary(**change: object) -> pd.DataFrame:
    return pd.DataFrame([{**LINE, **change}])


def _pairs(*others: str, tie: bool = False, model: str = "m") -> pd.DataFrame:
    """Pairs of autoregressive decoding, the faster one, with others."""
    beside = {"model": model, "faster": "autoregressive", "tie": tie}
    lines = [{**beside, "slower": other} for other in others]
    return pd.DataFrame(lines, columns=["model", "faster", "slower", "tie"])


def test_a_slower_method_is_explained() -> None:
    (said,) = slower_lines(_summary(), _pairs("lookahead"))
    for part in ("Lookahead is slower", "1.50 tokens", "12.0 rows", "1.67 times", "25 %"):
        assert part in said
    assisted = _summary(method="hf_assisted", draft_share=math.nan)
    (foreign,) = slower_lines(assisted, _pairs("hf_assisted"))
    assert "%" not in foreign


def test_a_tie_with_the_baseline_is_not_called_slower() -> None:
    again = _summary(method="autoregressive_again")
    assert slower_lines(again, _pairs("autoregressive_again", tie=True)) == []
    assert slower_lines(_summary(), _pairs("lookahead", tie=True, model="n")), "another model's"


def test_trainings_with_different_seeds_are_told_apart_from_other_variants() -> None:
    lines = [
        {**LINE, "method": "firp", "speedup": 2.0, "acceptance_length": 3.0},
        {**LINE, "method": "firp_second", "speedup": 1.8, "acceptance_length": 3.25},
        {**LINE, "method": "firp_blind", "speedup": 1.0, "acceptance_length": 2.0},
    ]
    variants = {
        "firp_second": {"of": "firp", "seed": 1},
        "firp_blind": {"of": "firp", "seed": 2, "steps_see_earlier": False},
    }
    (said,) = spread_lines(pd.DataFrame(lines), variants)
    assert said.startswith("m: 2 trainings of FIRP with different seeds are 1.80 to 2.00 times")
    assert "with 3.00 to 3.25 tokens a step" in said
    assert spread_lines(pd.DataFrame(lines[::2]), variants) == [], "control: one training alone"


@pytest.mark.parametrize("high", [1.01, math.nan])
def test_what_is_not_certain_is_not_said(high: float) -> None:
    assert slower_lines(_summary(speedup_ci_high=high), _pairs()) == []


def test_no_speedup_is_told_where_answers_loop() -> None:
    _, row = speed_rows(_summary(speedup=math.nan))
    assert row[3] == "–"
    assert speed_rows(_summary())[1][3] == "0.90"


def test_several_models_are_told_apart() -> None:
    both = pd.concat([_summary(), _summary(model="n")])
    assert [row[0] for row in speed_rows(both)[1:]] == ["Lookahead (m)", "Lookahead (n)"]
    assert [said.split(" is ")[0] for said in slower_lines(both, _pairs())] == [
        "Lookahead (m)",
        "Lookahead (n)",
    ]


def _tables(root: Path, **tables: str) -> Path:
    (root / "tables").mkdir()
    for name, text in tables.items():
        (root / "tables" / f"{name}.csv").write_text(text)
    return root


def test_what_methods_took_beside_what_they_may(tmp_path: Path) -> None:
    root = _tables(
        tmp_path,
        preparation="model,method,parts,training_seconds,tuning_seconds,budget_seconds,candidates,"
        "default_speedup,chosen_speedup\n"
        "m,firp,trained,300,90,400,24,1.5,2.0\nm,lookahead,,,130,400,14,0.8,1.2\n"
        "m,hf_assisted,trained,60,,,,,\nm,medusa,shipped,900,20,400,9,1.5,2.0\n",
    )
    said, shipped = budget_lines(Folder(root))
    assert "400 s for each method: FIRP 390 s, Lookahead 130 s, Medusa 20 s." in said
    assert "shipped with the target, after a training of Medusa 900 s" in shipped
    header, row = prepared_rows(Folder(root), _summary())
    found = dict(zip(header, row, strict=True))
    assert (found["training s"], found["tuning s"]) == ("–", "130")
    _, medusa = prepared_rows(Folder(root), _summary(method="medusa"))
    assert medusa[2] == "900, shipped"
    assert (found["default"], found["tuned"], found["candidates"]) == ("0.80", "1.20", "14")
    assert prepared_rows(Folder(root), _summary(method="hf_generate")) == []


def test_a_length_that_is_never_reached_is_said_to_be_beyond_what_was_tried(tmp_path: Path) -> None:
    assert reach_rows(Folder(tmp_path)) == size_rows(Folder(tmp_path)) == []
    root = _tables(
        tmp_path,
        draft_size_reach="model,method,other,other_draft_size,acceptance_length,draft_size,"
        "times_smaller\nm,medusa,firp,4,3.5,,\nm,firp,medusa,4,3.0,2,2.0\n"
        "m,medusa,hydra,4,3.0,4,1.0\n",  # is not about FIRP, so it is left out
        draft_size_curve="model,method,draft_size,predicted_acceptance_length,acceptance_length,"
        "speedup,rows_per_step\nm,firp,4,3.5,3.4,2.1,25\nm,firp,8,3.9,,,\n",
    )
    _, beyond, reached = reach_rows(Folder(root))
    assert beyond[-2:] == ["more than 8", "–"]
    assert reached == ["Medusa", "4", "3.00", "FIRP", "2", "2.0"]
    assert size_rows(Folder(root))[1:] == [["FIRP", "4", "3.500", "3.400", "25.0", "2.10"]]


def test_costs_are_told_beside_what_was_measured(tmp_path: Path) -> None:
    assert cost_rows(Folder(tmp_path), "gsm8k") == best_size_lines(Folder(tmp_path)) == []
    root = _tables(
        tmp_path,
        cost_model="model,dataset,method,rows,mean_rows,acceptance_length,predicted_step_ms,measured_step_ms,"
        "predicted_speedup,speedup,predicted_over_measured,ceiling_speedup\n"
        "m,gsm8k,firp,25,15.04,4.0,5.5,5.8,2.5,2.4,1.04,3.1\nm,xsum,firp,25,15,3.0,5.5,5.8,1.9,1.8,1.04,3.1\n",
        best_draft_size="model,method,draft_size,passes,predicted_acceptance_length,"
        "predicted_step_ms,predicted_speedup,timed_draft_size,timed_speedup\n"
        "m,firp,3,two_pass,3.126,4.4,2.44,4,2.02\nm,medusa,5,,3.4,4.5,2.6,,\n",
    )
    assert cost_rows(Folder(root), "gsm8k")[1:] == [
        ["FIRP", "25.0", "15.0", "4.00", "5.50", "5.80", "2.50", "2.40", "3.10"]
    ]
    assert cost_rows(Folder(root), "mtbench") == []
    firp, medusa = best_size_lines(Folder(root))
    for part in ("3 drafts a step in two passes: 3.13 tokens", "2.44", "timed, 4 was", "with 2.02"):
        assert part in firp
    assert "timed" not in medusa
    assert "nan" not in medusa


def test_finalists_stand_before_what_a_first_look_flattered(tmp_path: Path) -> None:
    folder = tmp_path / "methods/m/firp"
    folder.mkdir(parents=True)
    trials = ["role,drafts,requests,speedup", ",3,10,1.3", ",5,96,1.1", "chosen,4,96,1.2"]
    (folder / "trials.csv").write_text("\n".join(trials))
    facts = {"uses": {}, "experiment": {"methods": ["firp"], "models": ["m"]}}
    (shown,) = _trials(Folder(tmp_path), facts)
    assert [row[2] for row in shown["rows"]] == ["drafts", "4", "5", "3"]


def test_a_report_of_rows_outside_the_project_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=f"root '{tmp_path}': expected a folder inside"):
        write_report(tmp_path, "paper", tmp_path / "paper.pdf")
