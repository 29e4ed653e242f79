"""Predicted speedups, by hand; and the shipped acceptance figures against what they cite."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from harness.__main__ import main
from harness.enginebench.predicted import Accepted, predict, read_measured, read_profile
from harness.errors import HarnessError
from tests.workflow.test_smoke import ROOT

RESOURCES = ROOT / "workflows/resources"
PROFILES = sorted(RESOURCES.glob("acceptance-*.yaml"))
PLACE = {"model": "M", "data": "D", "source": "a source"}


def _measured(**change: Any) -> dict[str, Any]:
    """Six layers; a forward of 1, 5 and 25 rows takes 10, 12 and 20 ms, behind 64 tokens 1 more."""
    forwards = [
        # one outlier, which a median does not see
        {"rows": rows, "context": context, "seconds": [(ms + more) / 1000] * 2 + [1.0]}
        for rows, ms in ((1, 10), (5, 12), (25, 20))
        for context, more in ((32, 0), (64, 1))
    ]
    machine = {"device": "cpu", "cpu": "a CPU"}
    place = {"name": "toy", "dtype": "float32", "layers": 6, "machine": machine}
    place |= {"hidden_size": 10, "vocabulary": 100, "bytes": {"weights": 100_000}}
    return place | {"forwards": forwards} | change


def _predicted(folder: Path, line: Accepted, **change: Any) -> pd.DataFrame:
    file = folder / "engine.json"
    file.write_text(json.dumps(_measured(**change)))
    return predict(read_measured(file), [line]).set_index("context")


def test_rows_between_those_timed(tmp_path: Path) -> None:
    line = Accepted("medusa", tokens_per_step=2.2, rows=3, **PLACE)
    found = _predicted(tmp_path, line)
    # 3 rows are half way from 1 to 5: 11 ms, and 12 behind 64 tokens, where one row takes 11.
    assert found["step_ms"].to_dict() == pytest.approx({32: 11, 64: 12})
    assert found["predicted_speedup"].to_dict() == pytest.approx({32: 2.0, 64: 2.2 * 11 / 12})
    assert found["relative_step"][32] == pytest.approx(1.1)
    plain = _predicted(tmp_path, Accepted("any", tokens_per_step=2.2, rows=1, **PLACE))
    assert plain["predicted_speedup"][32] == pytest.approx(2.2), "control: rows cost nothing"


def test_pseudo_rows_cost_from_where_they_enter(tmp_path: Path) -> None:
    def of(passes: str, share: float) -> float:
        line = Accepted("firp", "M", "D", 4.0, 5, "a source", [share] * 4, passes)  # type: ignore[arg-type]
        return _predicted(tmp_path, line)["step_ms"][32]

    # Four projections of 10 x 10 and a head of 10 x 100, of the 25,000 weights that take 10 ms.
    drafting = 10 * (4 * 100 + 1000) / 25_000
    # Layers 0-2 run 5 rows at a rate of 12 ms, layers 3-5 25 rows at 20 ms.
    assert of("combined", 0.5) == pytest.approx((3 * 12 + 3 * 20) / 6 + drafting)
    assert of("combined", 2 / 6) == pytest.approx((2 * 12 + 4 * 20) / 6 + drafting)
    # The tree alone, then 4 rows (11.5 ms) through the upper half.
    assert of("two_pass", 0.5) == pytest.approx(12 + 11.5 / 2 + drafting)


def test_each_of_medusa_s_heads_is_read(tmp_path: Path) -> None:
    def of(dtype: str, **heads: int) -> pd.Series:
        line = Accepted("medusa", tokens_per_step=2.2, rows=5, **PLACE, **heads)
        return _predicted(tmp_path, line, dtype=dtype).loc[32]

    assert of("float32")["step_ms"] == pytest.approx(12), "control: no heads"
    found = of("float32", heads=3, head_layers=2)
    assert found["draft_weights_ms"] == pytest.approx(10 * 3 * (200 + 1000) / 25_000)
    assert found["step_ms"] == pytest.approx(12 + found["draft_weights_ms"])
    half = of("float16", heads=3, head_layers=2)
    assert half["draft_weights_ms"] == pytest.approx(found["draft_weights_ms"] / 2)


def test_every_line_is_marked_and_names_its_source(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measured, out = tmp_path / "engine.json", tmp_path / "predicted.csv"
    measured.write_text(json.dumps(_measured()))
    given = ["--measured", str(measured), "--acceptance", *map(str, PROFILES), "--out", str(out)]
    assert main(["predict", *given]) == 0
    table = pd.read_csv(out)
    lines = [line for profile in PROFILES for line in read_profile(profile)]
    assert len(table) == 2 * len(lines)
    assert (table["kind"] == "prediction").all()
    assert list(table["source"]) == [line.source for line in lines for _ in range(2)]
    caption, _, *rows = (tmp_path / "predicted.md").read_text().strip().splitlines()
    assert caption.startswith("**Prediction, nothing here was decoded.**")
    body = rows[2:]
    assert len(body) == len(table)
    for row, source in zip(body, table["source"], strict=True):
        assert row.startswith("| prediction |")
        assert source in row
    assert capsys.readouterr().out.strip().startswith("**Prediction")


def test_the_mini_profile_holds_what_was_measured() -> None:
    summary = pd.read_csv(ROOT / "results/reference/mini/tables/summary.csv")
    summary = summary.set_index(["method", "dataset"])
    names = {"GSM8K": "gsm8k", "MT-bench": "mtbench", "XSum": "xsum"}
    lines = read_profile(RESOURCES / "acceptance-mini.yaml")
    assert len(lines) == 12
    for line in lines:
        kept = summary.loc[(line.method, names[line.data.removesuffix(" stand-in")])]
        assert line.tokens_per_step == round(kept["acceptance_length"], 2)
        rows = line.rows * (1 + len(line.pseudo_from))
        assert rows == pytest.approx(kept["rows_per_step"], abs=0.051)
    medusa = ROOT / "results/reference/mini/methods/mini/medusa/config.json"
    sizes = json.loads(medusa.read_text())
    made = (sizes["medusa_num_heads"], sizes["medusa_num_layers"])
    for line in lines:
        assert (line.heads, line.head_layers) == (made if line.method == "medusa" else (0, 0))
    firp = json.loads((ROOT / "results/reference/mini/methods/mini/firp/config.json").read_text())
    entries = [layer / 6 for layer in firp["layout"]["entry_layers"]]
    for line in lines:
        assert line.pseudo_from == (entries if line.method == "firp" else [])


def test_published_figures_agree_with_the_table_of_the_reports() -> None:
    told = pd.read_csv(RESOURCES / "published.csv")
    lines = read_profile(RESOURCES / "acceptance-published.yaml")
    assert not {"firp", "self_speculative"} & {line.method for line in lines}
    (medusa,) = (line for line in lines if (line.method, line.model[7:10]) == ("medusa", "13B"))
    row = told[(told["measure"] == "acceptance length") & (told["method"] == "Medusa")]
    assert medusa.tokens_per_step == float(row["value"].item())
    tree = told[(told["measure"] == "draft size") & (told["method"] == "Medusa")]
    assert medusa.rows == 1 + int(tree["value"].item())
    assert all(line.source for line in lines)


GOOD = {"method": "medusa", **PLACE, "tokens_per_step": 2.0, "rows": 5}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"tokens_per_step": 0.5}, "tokens_per_step: Input should be greater than or equal to 1"),
        ({"source": ""}, "source: String should have at least 1 character"),
        ({"pseudo_form": [0.5]}, "pseudo_form: Unexpected keyword argument"),
        ({"pseudo_from": [0.5]}, "passes '' with 1 pseudo rows; expected both or neither"),
        ({"rows": 4.5, "pseudo_from": [0.5], "passes": "combined"}, "4.5 rows, expected a whole"),
        ({"rows": None}, "rows: Input should be a valid number"),
    ],
)
def test_a_bad_profile_is_named(tmp_path: Path, change: dict, expected: str) -> None:
    file = tmp_path / "acceptance.yaml"
    file.write_text(yaml.safe_dump({"acceptance": [GOOD]}))
    assert len(read_profile(file)) == 1, "control"
    file.write_text(yaml.safe_dump({"acceptance": [GOOD | change]}))
    with pytest.raises(HarnessError, match="acceptance") as error:
        read_profile(file)
    assert expected in str(error.value)


def test_a_file_that_is_no_yaml_is_named(tmp_path: Path) -> None:
    file = tmp_path / "acceptance.yaml"
    file.write_text("acceptance: [")
    with pytest.raises(HarnessError, match="expected YAML"):
        read_profile(file)
    with pytest.raises(HarnessError, match="no such file"):
        read_profile(tmp_path / "none.yaml")


def test_without_a_forward_of_one_row_there_is_no_speedup(tmp_path: Path) -> None:
    forwards = [one for one in _measured()["forwards"] if one["rows"] > 1]
    line = Accepted("medusa", tokens_per_step=2.2, rows=3, **PLACE)
    with pytest.raises(HarnessError, match=r"rows \[5, 25\], expected 1 and more"):
        _predicted(tmp_path, line, forwards=forwards)
    one = [one for one in _measured()["forwards"] if one["rows"] == 1]
    with pytest.raises(HarnessError, match=r"rows \[1\], expected 1 and more"):
        _predicted(tmp_path, line, forwards=one)
