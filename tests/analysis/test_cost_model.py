"""The cost model on rows made from known costs: it finds them again, and their absence shows."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from harness.analysis.cost_model import copy_shares
from harness.analysis.tables import write_tables
from harness.experiment.folder import Folder
from harness.files import write_json
from harness.measure.step_cost import ForwardCost
from tests.analysis.test_tables import ANSWER, QUESTIONS, _write_experiment

ROWS, CONTEXTS, LAYERS = (1, 2, 4, 8, 16, 32, 64), (8, 64, 128), 6
PROMPT = 30  # tokens
OUTSIDE = {"autoregressive": 0.5, "autoregressive_again": 0.5, "fast": 2.0}
TABLES = ("cost.csv", "cost_model.csv", "best_draft_size.csv")


def truth(rows: float, context: float) -> float:
    """Milliseconds of a forward; straight between the rows that are timed, as the model takes it.

    More than proportional in between, so that a mean over steps is not the mean step.
    """
    return float(np.interp(rows, ROWS, [3 + r**1.2 for r in ROWS])) * (1 + context / 200)


def _grid() -> np.ndarray:
    return np.array([[truth(rows, context) for context in CONTEXTS] for rows in ROWS])


FORWARD = ForwardCost(np.array(ROWS), np.array(CONTEXTS), _grid(), LAYERS)


def test_a_forward_costs_what_was_timed_there() -> None:
    rows, context = np.meshgrid(ROWS, CONTEXTS, indexing="ij")
    assert np.array_equal(FORWARD(rows.ravel(), context.ravel()), FORWARD.grid.ravel())


def test_between_and_beyond_what_was_timed() -> None:
    everywhere = FORWARD(np.arange(1, 65), np.full(64, 100.0))
    assert (np.diff(everywhere) > 0).all()
    inside = FORWARD(np.full(121, 20), np.arange(8, 129))
    assert (np.diff(inside) > 0).all()
    assert FORWARD(np.array([24]), np.array([8]))[0] == pytest.approx(truth(24, 8))
    last = (truth(64, 8) - truth(32, 8)) / 32
    assert FORWARD(np.array([96]), np.array([1]))[0] == pytest.approx(truth(64, 8) + 32 * last)
    assert FORWARD(np.array([0]), np.array([8]))[0] == 0


def test_the_share_of_copy_bandwidth_is_that_of_one_row(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    same = {"weight_bytes": 8e6, "token_bytes": 1e4, "copy_rate": 1e10}
    lines = [
        {"rows": rows, "context": context, "seconds": seconds, **same}
        for rows, context, seconds in ((1, 10, 9.0), (1, 100, 2e-3), (1, 200, 9.0), (8, 100, 9.0))
    ]
    folder.cost("mini").parent.mkdir()
    pd.DataFrame(lines).to_csv(folder.cost("mini"), index=False)
    assert copy_shares(folder, ["mini", "absent"]) == {"mini": pytest.approx(9e6 / 2e-3 / 1e10)}
    pd.DataFrame(lines).drop(columns="copy_rate").to_csv(folder.cost("old"), index=False)
    assert copy_shares(folder, ["old"]) == {}, "older runs did not time copies"


def _as_planned(row: dict) -> None:
    """Rows of the fast arm vary from step to step; seconds are those of the known costs."""
    if row["arm"] == "fast":
        row["step_rows"] = [1, 5, 9, 5, 23, 5]
    _spend(row, lambda width, _, context: truth(width, context))


def _pseudo_rows(row: dict) -> None:
    """The fast arm runs 2 pseudo rows a node, one from layer 2 and one from layer 4."""
    if row["arm"] == "fast":
        row["step_rows"] = [1] + [15] * 5

    def milliseconds(width: int, nodes: int, context: int) -> float:
        in_layer = [nodes, nodes, 2 * nodes, 2 * nodes, 3 * nodes, 3 * nodes]
        widths = in_layer if width > nodes else [width] * LAYERS
        return sum(truth(rows, context) for rows in widths) / LAYERS

    _spend(row, milliseconds)


def _spend(row: dict, milliseconds: Callable[[int, int, int], float]) -> None:
    """Decode seconds of a row, every step behind the prompt and what was committed, less a root."""
    seconds, context = 0.0, PROMPT - 1
    steps = zip(row["step_tokens"], row["step_rows"], row["step_draft_size"], strict=True)
    for place, (tokens, width, drafts) in enumerate(steps):
        if place:
            seconds += (milliseconds(width, 1 + drafts, context) + OUTSIDE[row["arm"]]) / 1000
        context += tokens
    row["decode_seconds"] = seconds


def _experiment(root: Path, change: Callable[[dict], None] = _as_planned) -> dict:
    """An experiment of one model whose forwards were timed and whose arms were profiled."""
    experiment = _write_experiment(root, {"small": 1.0}, change)
    file = root / "prompts/small/gsm8k.jsonl"
    prompts = [json.loads(line) | {"input_ids": [1] * PROMPT} for line in file.open()]
    file.write_text("".join(json.dumps(prompt) + "\n" for prompt in prompts))
    cells = [
        f"{rows},{context},{truth(rows, context) / 1000!r},9,{LAYERS}"
        for rows in ROWS
        for context in CONTEXTS
    ]
    _write_csv(root / "cost/small.csv", "rows,context,seconds,repeats,layers", cells)
    _profile(root, OUTSIDE)
    return experiment


def _profile(root: Path, outside: dict[str, float], elsewhere: float = 1.0) -> None:
    """Ten steps an arm of a 4 ms forward, and what is outside it spread over five phases.

    On another data set, which the experiment lacks, everything outside costs ``elsewhere`` times
    as much.
    """
    header = (
        "dataset,method,requests,decode_steps,timed_seconds,decode_seconds,prefill,draft,tree,"
        "forward,choose,commit"
    )
    lines = [
        f"{dataset},{arm},2,10,1,{0.04 + ms / 100},0.1,{0.4 * ms / 100},{0.1 * ms / 100},0.04,"
        f"{0.2 * ms / 100},{0.2 * ms / 100}"
        for dataset, times in (("gsm8k", 1.0), ("other", elsewhere))
        for arm, ms in ((arm, times * ms) for arm, ms in outside.items())
    ]
    _write_csv(root / "profile/small.csv", header, [*lines, "gsm8k,hf_generate,2,10,1,,,,,,,"])


def _write_csv(file: Path, header: str, lines: list[str]) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text("\n".join([header, *lines]) + "\n")


def _cost_model(root: Path) -> pd.DataFrame:
    return pd.read_csv(root / "tables/cost_model.csv").set_index("method")


@pytest.mark.parametrize("change", [_as_planned, _pseudo_rows])
def test_known_costs_predict_what_was_measured(
    tmp_path: Path, change: Callable[[dict], None]
) -> None:
    experiment = _experiment(tmp_path, change)
    layout = {"entry_layers": [2, 4] if change is _pseudo_rows else []}
    write_json(tmp_path / "methods/small/fast/config.json", {"layout": layout})
    write_tables(experiment, tmp_path)
    found = _cost_model(tmp_path)
    assert list(found.index) == list(OUTSIDE), "and no arm outside the engine"
    assert found["predicted_step_ms"].to_numpy() == pytest.approx(
        found["measured_step_ms"].to_numpy(), rel=1e-4
    )
    assert found["predicted_over_measured"].to_numpy() == pytest.approx(1, rel=1e-4)
    fast = found.loc["fast"]
    # 3 of 4 drafts were accepted in every step, so 3 is as deep as the tree is known to be
    assert fast["ceiling_speedup"] == pytest.approx(fast["predicted_speedup"])
    timed = pd.read_csv(tmp_path / "tables/cost.csv")
    assert len(timed) == len(ROWS) * len(CONTEXTS)
    assert timed["forward_ms"].iloc[-1] == pytest.approx(truth(64, 128), rel=1e-4)


def _checked(root: Path) -> list[dict]:
    """What the list of what is fair says of how fast the machine was as forwards were timed."""
    checks = json.loads((root / "tables/facts.json").read_text())["checklist"]
    return [check for check in checks if check["what"].startswith("forwards were timed")]


def test_forwards_timed_while_the_machine_was_slow_are_told(tmp_path: Path) -> None:
    experiment = _experiment(tmp_path)
    write_tables(experiment, tmp_path)
    assert [check["holds"] for check in _checked(tmp_path)] == [True], "control"
    file = tmp_path / "cost/small.csv"
    timed = pd.read_csv(file)
    timed.assign(seconds=2 * timed["seconds"]).to_csv(file, index=False)
    write_tables(experiment, tmp_path)
    (check,) = _checked(tmp_path)
    assert check["holds"] is False
    step = _cost_model(tmp_path).loc["autoregressive"]
    assert (
        f"{step['predicted_step_ms']:.3g} ms, and took {step['measured_step_ms']:.3g}"
        in (check["detail"])
    )
    file.unlink()
    write_tables(experiment, tmp_path)
    assert _checked(tmp_path) == [], "none were timed"


def test_a_drafter_s_cost_and_a_step_s_rows_are_needed(tmp_path: Path) -> None:
    """Control: without either, the prediction is off."""
    experiment = _experiment(tmp_path)
    _profile(tmp_path, dict.fromkeys(OUTSIDE, 0.5))
    write_tables(experiment, tmp_path)
    assert _cost_model(tmp_path).loc["fast", "predicted_over_measured"] > 1.05

    def narrow(row: dict) -> None:
        _as_planned(row)
        row["step_rows"] = [1] * len(row["step_rows"])

    _experiment(tmp_path, narrow)
    write_tables(experiment, tmp_path)
    assert _cost_model(tmp_path).loc["fast", "predicted_over_measured"] > 1.5


def test_what_an_arm_spends_outside_is_that_data_set_s(tmp_path: Path) -> None:
    experiment = _experiment(tmp_path)
    _profile(tmp_path, OUTSIDE, elsewhere=3.0)
    write_tables(experiment, tmp_path)
    found = _cost_model(tmp_path)
    assert found["predicted_over_measured"].to_numpy() == pytest.approx(1, rel=1e-4)
    # Control: not profiled by itself, it gets the mean of the others, twice what it really is.
    file = tmp_path / "profile/small.csv"
    file.write_text(file.read_text().replace("gsm8k,", "third,"))
    write_tables(experiment, tmp_path)
    found = _cost_model(tmp_path)
    off = found["predicted_step_ms"] - found["measured_step_ms"]
    assert off.to_numpy() == pytest.approx(np.array(list(OUTSIDE.values())), rel=1e-2)


def test_the_ceiling_is_the_longest_path_in_every_step_that_drafts(tmp_path: Path) -> None:
    def unlucky(row: dict) -> None:
        """All drafts are wrong in the last question, but for one; its last step drafts nothing."""
        _as_planned(row)
        if row["arm"] == "fast" and row["prompt_id"].endswith(str(QUESTIONS - 1)):
            row["step_tokens"] = [1, 2, *[1] * 18]
            row["step_path"] = [[], [1], *[[] for _ in range(18)]]
            row["step_draft_size"] = [0, *[4] * 18, 0]
            row["step_rows"] = [1, *[5] * 18, 1]

    write_tables(_experiment(tmp_path, unlucky), tmp_path)
    fast = _cost_model(tmp_path).loc["fast"]
    steps = (QUESTIONS - 1) * 5 + 19
    reached = (steps * 4 - 3) / steps
    assert len(ANSWER) == 21
    assert fast["ceiling_speedup"] / fast["predicted_speedup"] == pytest.approx(
        reached / fast["acceptance_length"], rel=1e-4
    )


def test_runs_without_timed_forwards_have_no_such_tables(tmp_path: Path) -> None:
    experiment = _experiment(tmp_path)
    (tmp_path / "cost/small.csv").unlink()
    write_tables(experiment, tmp_path)
    assert not {file.name for file in (tmp_path / "tables").iterdir()} & set(TABLES)


def test_without_a_profile_nothing_is_predicted(tmp_path: Path) -> None:
    experiment = _experiment(tmp_path) | {"draft_sizes": {"methods": ["fast"], "sizes": [1]}}
    (tmp_path / "profile/small.csv").unlink()
    write_tables(experiment, tmp_path)
    assert not pd.read_csv(tmp_path / "tables/cost.csv").empty
    assert _cost_model(tmp_path).empty
    assert pd.read_csv(tmp_path / "tables/best_draft_size.csv").empty


def _best(
    root: Path, setting: dict, entries: list[int], lengths: list[float], deepest: int = 4
) -> pd.Series:
    """What is said of a method with such predicted lengths; size 2 was timed.

    Trees are chains, those of more than ``deepest`` drafts branch at their end.
    """
    passes = ("combined", "two_pass") if entries else ("",)
    _write_curve(root, setting, entries, lengths, deepest)
    _write_trials(root, [f",1,{way},0,,,1.5,1.2" for way in passes])
    return _told(root).iloc[0]


def _told(root: Path) -> pd.DataFrame:
    experiment = _experiment(root)
    experiment["draft_sizes"] = {"methods": ["fast"], "sizes": [1]}
    write_tables(experiment, root)
    return pd.read_csv(root / "tables/best_draft_size.csv")


def _write_trials(root: Path, lines: list[str]) -> None:
    header = "role,drafts,passes,requests,speedup,acceptance_length,"
    header += "predicted_acceptance_length,predicted_speedup"
    _write_csv(root / "methods/small/fast/trials.csv", header, lines)


def _write_curve(
    root: Path, setting: dict, entries: list[int], lengths: list[float], deepest: int
) -> None:
    write_json(root / "methods/small/fast/config.json", {"layout": {"entry_layers": entries}})
    write_json(root / "methods/small/fast/setting.json", setting)
    lines = [
        f"fast,{size},{length},{'4,1.4' if size == 2 else ','},{min(size, deepest)}"
        for size, length in enumerate(lengths, start=1)
    ]
    header = "method,draft_size,predicted_acceptance_length,requests,speedup,depth"
    _write_csv(root / "curve/small.csv", header, lines)


def test_what_was_not_foretold_has_no_best_size(tmp_path: Path) -> None:
    """There drafting takes longer for deeper trees, by as much as is not known."""
    _write_curve(tmp_path, {}, [], [1.8, 2.6], 4)
    _write_trials(tmp_path, [",1,,5,1.1,1.5,1.5,"])
    assert _told(tmp_path).empty
    _write_trials(tmp_path, [",1,,5,1.1,1.5,1.5,1.2"])
    assert list(_told(tmp_path)["method"]) == ["fast"], "control"


def test_only_passes_that_were_tried_are_named(tmp_path: Path) -> None:
    _write_curve(tmp_path, {"passes": "combined", "depth": 2}, [2, 4], LENGTHS, 4)
    for way in ("combined", "two_pass"):
        _write_trials(tmp_path, [f",1,{way},0,,,1.5,1.2"])
        assert list(_told(tmp_path)["passes"]) == [way]


def test_a_tree_has_the_pseudo_rows_of_its_own_depth(tmp_path: Path) -> None:
    lengths = [1.1, 1.2, 1.3, 9.0]
    steps = []
    for deepest in (1, 4):
        root = tmp_path / str(deepest)
        root.mkdir()
        setting = {"passes": "combined", "depth": 4}
        found = _best(root, setting, [2, 2, 2, 2], lengths, deepest)
        steps.append(found["predicted_step_ms"])
    assert steps[0] < steps[1]


# Mean context of an autoregressive step: 20 steps from the prompt's 30 tokens on.
CONTEXT = PROMPT + 9.5
LENGTHS = [1.8, 2.6, 3.3, 3.4]


def test_the_best_size_weighs_tokens_against_rows(tmp_path: Path) -> None:
    found = _best(tmp_path, {}, [], LENGTHS)
    step = [truth(1 + size, CONTEXT) + OUTSIDE["fast"] for size in range(1, 5)]
    rates = [length / ms for length, ms in zip(LENGTHS, step, strict=True)]
    baseline = truth(1, CONTEXT) + OUTSIDE["autoregressive"]
    assert found["draft_size"] == 3 == 1 + int(np.argmax(rates))
    assert found["predicted_step_ms"] == pytest.approx(step[2], rel=1e-4)
    assert found["predicted_speedup"] == pytest.approx(max(rates) * baseline, rel=1e-4)
    assert (found["timed_draft_size"], found["timed_speedup"]) == (2, 1.4)


def test_pseudo_rows_make_drafts_dearer_and_a_second_pass_cheaper(tmp_path: Path) -> None:
    """Both passes are weighed, each with the cost of its own rows."""
    entries = [2, 4]
    (tmp_path / "dear").mkdir()
    found = _best(tmp_path / "dear", {"passes": "combined", "depth": 2}, entries, LENGTHS)

    def widths(nodes: int, size: int) -> list[int]:
        return [nodes * min(size, sum(entry <= layer for entry in entries)) for layer in range(6)]

    def ride(size: int) -> float:
        rows = [1 + size + extra for extra in widths(1 + size, size)]
        return sum(truth(r, CONTEXT) for r in rows) / LAYERS + OUTSIDE["fast"]

    def second(size: int) -> float:
        return sum(truth(r, CONTEXT) for r in widths(1, size) if r) / LAYERS

    def apart(size: int) -> float:
        return truth(1 + size, CONTEXT) + second(size) + OUTSIDE["fast"]

    step = [min(ride(size), apart(size)) for size in range(1, 5)]
    at = int(np.argmax([length / ms for length, ms in zip(LENGTHS, step, strict=True)]))
    assert found["draft_size"] == 1 + at
    assert found["predicted_step_ms"] == pytest.approx(step[at], rel=1e-4)
    assert found["passes"] == ("combined" if ride(1 + at) < apart(1 + at) else "two_pass")
    # the profile of a two-pass arm holds its second pass, which is not paid twice
    (tmp_path / "again").mkdir()
    again = _best(tmp_path / "again", {"passes": "two_pass", "depth": 2}, entries, LENGTHS)
    assert again["predicted_step_ms"] == pytest.approx(
        found["predicted_step_ms"] - second(2), rel=1e-4
    )
