"""The whole workflow on `smoke`, through Snakemake, and what a second run does."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pandas as pd
import pytest
import yaml
from pypdf import PdfReader

from harness.analysis.preparation import Prepared
from harness.experiment.folder import Folder
from harness.presentation.used import used
from harness.presentation.wording import name_of
from methods import METHODS
from tests import ROOT
from tests.workflow.killing import kill_once_measured, whole_prompts

ENVIRONMENT = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def snakemake(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "snakemake", "--cores", "1", *arguments]
    return subprocess.run(
        command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )


# Arms that run beside variants (test_variants.py), which is done while this still goes on.
LEFT_OUT = {"hydra", "eagle", "eagle2", "chimera", "draft_model", "token_recycling"}
SMOKE = ("all", "--configfile", "workflows/config/smoke.yaml")


def copy_project(folder: Path) -> None:
    """Put what a run of the workflow needs into ``folder``."""
    for name in ("harness", "methods", "workflows", "profiles"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Snakefile", "environment.yml"):
        shutil.copy(ROOT / name, folder / name)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project in which the smoke experiment ran."""
    folder = tmp_path_factory.mktemp("project")
    copy_project(folder)
    done = snakemake(folder, *SMOKE)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    (folder / "terminal.txt").write_text(done.stdout + done.stderr)
    return folder


@pytest.fixture(scope="module")
def said(finished: Path) -> str:
    """What the terminal showed of that run."""
    return (finished / "terminal.txt").read_text()


@pytest.mark.parametrize("name", ["mtbench", "gsm8k", "xsum", "paper", "analysis"])
def test_every_report_is_a_pdf(finished: Path, name: str) -> None:
    assert (finished / "reports" / f"{name}.pdf").read_bytes().startswith(b"%PDF")


def test_every_arm_is_in_the_summary_with_identical_answers(finished: Path) -> None:
    summary = pd.read_csv(finished / "results/smoke/tables/summary.csv")
    for _, cell in summary.groupby("dataset"):
        assert set(cell["method"]) == set(METHODS) - LEFT_OUT
    assert set(summary.query("not lossless")["method"]) == {"medusa_typical"}
    assert (summary.query("lossless")["exact_match_rate"] == 1).all()
    lossy = pd.read_csv(finished / "results/smoke/tables/lossy.csv")
    assert set(lossy["method"]) == {"medusa_typical"}
    assert lossy["distance"].between(0, 1).all()
    assert summary["rank_best"].isna().all(), "ranks need five sessions"
    plain = summary["method"].isin(("autoregressive", "autoregressive_again", "hf_generate"))
    assert (summary[plain]["acceptance_length"] == 1).all()
    width = summary[summary["method"] == "width_matched"].set_index("dataset")
    firp = summary[summary["method"] == "firp"].set_index("dataset")
    assert (width["acceptance_length"] == 1).all()
    # the same tree in every step; steps near the cap draft less, and there are more of them
    assert (width["rows_per_step"] - firp["rows_per_step"]).abs().max() < 1
    assert (summary[~plain]["draft_size"] > 0).all(), "every other arm drafts"


@pytest.mark.parametrize("dataset", ["mtbench", "gsm8k", "xsum"])
def test_a_report_s_main_table_is_that_of_the_csv(finished: Path, dataset: str) -> None:
    folder = Folder(finished / "results/smoke")
    summary = folder.read_csv(folder.table("summary"))
    prepared = Prepared(folder, folder.read_json(folder.facts)["uses"])
    pages = PdfReader(finished / "reports" / f"{dataset}.pdf").pages
    text = re.sub(r"\s+", " ", pages[0].extract_text())  # the first page holds the result
    for _, line in summary[summary["dataset"] == dataset].iterrows():
        row = [
            f"{line['tokens_per_second']:,.1f}",
            f"{line['speedup']:.2f}",
            "–",  # one session gives no interval
            f"{line['end_to_end_speedup']:.2f}",
            f"{line['acceptance_length']:.2f}",
            f"{line['draft_size']:.1f}",
        ]
        setting = used(prepared, "mini", line["method"], line["method"])
        name = f"{name_of(line['method'])} {setting}".strip()
        assert f"{name} {' '.join(row)}" in text
        # not 0.1, which rounding may take away
        row[0] = f"{line['tokens_per_second'] + 0.2:,.1f}"
        assert f"{name} {' '.join(row)}" not in text, "control: another number"


def test_the_terminal_says_each_job_in_words_and_ends_with_the_table(said: str) -> None:
    assert "choosing the setting of firp for mini" in said
    assert re.search(r"\[\d+ of \d+\] session 1: all methods on gsm8k, mini, \d+ s", said)
    for noise in (
        "reason:",
        "jobid:",
        "wildcards:",
        "Select jobs",
        "rope_scaling",
        "FutureWarning",
    ):
        assert noise not in said, noise
    closing = said.split("\nGSM8K\n")[1]
    assert re.search(r"^FIRP +\d\.\d\d", closing, re.M)
    assert "Reports: reports/index.html, reports/gsm8k.pdf" in closing
    assert "reports/analysis.pdf" in closing


def test_the_page_holds_every_set(finished: Path) -> None:
    text = (finished / "reports/index.html").read_text()
    for name in ("MT-bench", "GSM8K", "XSum", "FIRP decodes", "data:image/svg+xml"):
        assert name in text


def test_costs_predict_every_arm_whose_steps_can_be_split(finished: Path) -> None:
    tables = finished / "results/smoke/tables"
    phases = pd.read_csv(tables / "phases.csv").dropna(subset=["forward_ms"])
    predicted = pd.read_csv(tables / "cost_model.csv")
    counted = pd.read_csv(tables / "summary.csv").dropna(subset=["speedup"])
    engine = counted[counted["method"].isin(phases["method"])]
    places = ["dataset", "method"]
    assert predicted[places].to_numpy().tolist() == engine[places].to_numpy().tolist()
    assert (predicted["ceiling_speedup"] >= predicted["predicted_speedup"] * 0.999).all()
    best = pd.read_csv(tables / "best_draft_size.csv")
    assert list(best["method"]) == ["firp", "medusa"]
    for name, cell in predicted.groupby("dataset"):
        pages = PdfReader(finished / "reports" / f"{name}.pdf").pages
        text = re.sub(r"\s+", " ", " ".join(page.extract_text() for page in pages))
        for _, line in cell.iterrows():
            columns = ("predicted_step_ms", "measured_step_ms", "predicted_speedup", "speedup")
            told = " ".join(f"{line[column]:,.2f}" for column in columns)
            assert told in text


def test_a_line_of_the_summary_names_its_rows(finished: Path) -> None:
    root = finished / "results/smoke"
    for _, line in pd.read_csv(root / "tables/summary.csv").iterrows():
        rows = root / "runs" / line["model"] / line["dataset"] / "session-1.jsonl"
        assert line["rows_sha256"] == hashlib.sha256(rows.read_bytes()).hexdigest()


def test_the_paper_s_four_tables_hold_the_summary_s_values(finished: Path) -> None:
    tables = finished / "results/smoke/tables"
    summary = pd.read_csv(tables / "summary.csv").set_index(["method", "model", "dataset"])
    for name in ("speedup", "acceptance_length", "draft_size", "rouge2"):
        table = pd.read_csv(tables / f"{name}.csv").set_index("method")
        for column in table:
            model, dataset = column.split("/")
            for method, value in table[column].dropna().items():
                assert value == pytest.approx(summary.loc[(method, model, dataset), name])


def test_frozen_prompts_and_rows_share_their_hashes(finished: Path) -> None:
    root = finished / "results/smoke"
    prompts = (root / "prompts/mini/mtbench.jsonl").read_text().splitlines()
    hashes = {p["prompt_id"]: p["sha256"] for p in map(json.loads, prompts)}
    rows = (root / "runs/mini/mtbench/session-1.jsonl").read_text().splitlines()
    for row in map(json.loads, rows):
        assert row["ids_sha256"] == hashes[row["prompt_id"]]
    assert {json.loads(p)["turn"] for p in prompts} == {1, 2}


def test_a_second_run_has_nothing_to_do(finished: Path) -> None:
    again = snakemake(finished, *SMOKE)
    assert again.returncode == 0
    assert "Nothing to be done" in again.stdout + again.stderr


def _would_run(folder: Path, *arguments: str) -> str:
    """Names of the rules that a dry run lists."""
    done = snakemake(folder, "-n", *SMOKE, *arguments)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout + done.stderr


CHANGES = {
    "firp": {"learning_rate": 0.01},
    "medusa": {"layers": 2},
    "hf_assisted": {"training_tokens": 30000},
    "lookahead": {"from_prompt": [False]},
    "self_speculative": {"search_requests": 2},
    "prompt_lookup": {"longest": [3]},
    "hf_generate": {"tuning_requests": 2},
    "medusa_typical": {"alpha": 0.2},
    "medusa_cartesian": {"widths": [2, 2]},
    "medusa_llm": {"widths": [2, 2]},
    "medusa_template": {"template": "vicuna_7b_stage1"},
}


@pytest.mark.parametrize("method", CHANGES)
def test_a_changed_setting_prepares_its_method_alone_and_repeats_the_sessions(
    finished: Path, method: str
) -> None:
    change = json.dumps({method: CHANGES[method]})
    listed = _would_run(finished, "--config", f"methods={change}")
    for rule in ("session", "profile", "tables", "report"):
        assert f"rule {rule}:" in listed, rule
    for rule in ("stand_in", "freeze_prompts", "freeze_tune_prompts", "answer"):
        assert f"rule {rule}:" not in listed, rule
    assert "rule cost:" not in listed, "a forward's cost is the target's alone"
    known = METHODS[method]
    assert ("rule train_method:" in listed) == (known.trained and not known.parts_of)
    assert ("rule tune_method:" in listed) == known.tuned
    prepared = set(re.findall(r"wildcards: model=mini, method=(\w+)", listed))
    taking = {name for name, entry in METHODS.items() if entry.parts_of == method} - LEFT_OUT
    assert prepared == ({method} | taking if known.trained or known.tuned else set())
    assert ("rule draft_size_curve:" in listed) == (method in ("firp", "medusa"))


def test_what_only_tuning_reads_trains_nothing(finished: Path) -> None:
    listed = _would_run(finished, "--config", 'methods={"firp": {"drafts": [4]}}')
    assert "rule tune_method:" in listed
    assert "rule train_method:" not in listed


def test_another_budget_prepares_every_method_again(finished: Path) -> None:
    listed = _would_run(finished, "--config", "budget=90")
    prepared = set(re.findall(r"wildcards: model=mini, method=(\w+)", listed))
    known = {name for name, entry in METHODS.items() if entry.trained or entry.tuned}
    assert prepared == known - LEFT_OUT
    assert "rule answer:" not in listed


def test_snakemake_killed_with_its_session_runs_on(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "project"
    shutil.copytree(finished, folder)
    runs = folder / "results/smoke/runs/mini/mtbench"
    for file in runs.iterdir():
        file.unlink()
    asked = ("results/smoke/runs/mini/mtbench/session-1.jsonl", *SMOKE[1:])
    process = subprocess.Popen(
        [sys.executable, "-m", "snakemake", "--cores", "1", *asked],
        cwd=folder,
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    before = kill_once_measured(process, runs / ".session-1.jsonl.journal")
    assert snakemake(folder, "--unlock", *asked).returncode == 0
    again = snakemake(folder, *asked)
    assert again.returncode == 0, again.stdout[-2000:] + again.stderr[-2000:]
    final = (runs / "session-1.jsonl").read_bytes()
    assert final.startswith(whole_prompts(before))


def test_an_edited_template_re_runs_reports_only(finished: Path) -> None:
    template = finished / "workflows/report.typ"
    before = template.read_text()
    template.write_text(before + "\n// edited\n")
    listed = _would_run(finished)
    template.write_text(before)
    assert "rule report:" in listed
    assert "rule session:" not in listed
    assert "rule tables:" not in listed


def _blocks(heading: str) -> list[str]:
    """The code blocks of a section of methods/README.md."""
    section = (ROOT / "methods/README.md").read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
    return [textwrap.dedent(code) for code in re.findall(r"```python\n(.*?)```", section, re.S)]


def test_a_method_of_one_s_own_by_the_recipe(finished: Path, tmp_path: Path) -> None:
    """One new file and one line, and it is an arm of the sessions like the rest."""
    code, line = _blocks("Add a method")
    name = re.match(r"# methods/(\w+)\.py", code)
    assert name is not None
    folder = tmp_path / "project"
    shutil.copytree(finished, folder)
    (folder / "methods" / f"{name[1]}.py").write_text(code)
    table = folder / "methods/__init__.py"
    text = table.read_text()
    end = text.index("}\n", text.index("METHODS = {"))
    table.write_text(text[:end] + textwrap.indent(line, "    ") + text[end:])
    config = yaml.safe_load((folder / "workflows/config/smoke.yaml").read_text())
    few = ("autoregressive", "autoregressive_again", "hf_generate", "prompt_lookup")
    config["methods"] = {arm: config["methods"][arm] for arm in few} | {name[1]: {"drafts": 3}}
    del config["draft_sizes"]
    (folder / "own.yaml").write_text(yaml.safe_dump(config))
    rows = "results/smoke/runs/mini/gsm8k/session-1.jsonl"
    done = snakemake(folder, rows, "--configfile", "own.yaml")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    found = pd.read_json(folder / rows, lines=True)
    mine, truth = (found[found["arm"] == arm] for arm in (name[1], "autoregressive"))
    assert len(mine) == len(truth) > 0
    assert list(mine["output_ids"]) == list(truth["output_ids"])
    assert {size for sizes in mine["step_draft_size"] for size in sizes[1:]} == {3}
