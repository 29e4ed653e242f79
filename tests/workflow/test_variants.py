"""Variants of a method in a config: arms of their own, from their training to the report."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from pypdf import PdfReader

from harness.errors import HarnessError
from harness.experiment.arms import parse_arm
from harness.experiment.config import parse_experiment
from harness.experiment.folder import Folder
from harness.experiment.plan.methods import Arms
from tests.workflow.test_smoke import ROOT, copy_project, snakemake

SMOKE = yaml.safe_load((ROOT / "workflows/config/smoke.yaml").read_text())
# By name, what the smoke run leaves out, with settings of its size.
LEFT_OUT = {
    "hydra": {"training_steps": 20, "batch": 4, "evaluate_every": 10, "drafts": [3]},
    "eagle": {"training_steps": 20, "batch": 4, "evaluate_every": 10, "drafts": [3]},
    "eagle2": {"drafts": [3], "depths": [2]},
    "chimera": {"training_steps": 20, "batch": 4, "evaluate_every": 10, "drafts": [3]},
    "hf_assisted": SMOKE["methods"]["hf_assisted"],
    "draft_model": {"drafts": [2]},
    "token_recycling": {"drafts": [8]},
}
VARIANTS = {
    "firp_blind": {"of": "firp", "steps_see_earlier": False},
    "hidden_transfer": {"of": "firp", "uses": "firp", "drafts": [2]},
    "wide": {"of": "medusa_cartesian", "widths": [2, 2]},
}
FOLLOWING = {"firp_parents": {"of": "firp", "parents": 4, "policies": ["best_first"]}}


def config(variants: dict[str, Any]) -> dict[str, Any]:
    """Smoke with few methods and one data set."""
    kept = ("autoregressive", "autoregressive_again", "hf_generate", "firp", "medusa_cartesian")
    return SMOKE | {
        "methods": {name: SMOKE["methods"][name] for name in kept},
        "datasets": {"gsm8k": SMOKE["datasets"]["gsm8k"]},
        "draft_sizes": {"methods": ["firp", "firp_blind"], "sizes": [1, 2], "timed": [1]},
        "variants": variants,
    }


def test_each_variant_is_prepared_as_it_says() -> None:
    experiment = parse_experiment(config(VARIANTS))
    arms, prepared = experiment.arms("mini"), experiment.prepared("mini")
    assert list(arms)[-3:] == list(VARIANTS)
    assert arms["firp_blind"].settings == {
        **{"training_steps": 20, "batch": 4, "evaluate_every": 10, "drafts": [3]},
        **{"policies": ["static"], "steps_see_earlier": False},
    }
    assert {name: (arm.folder, arm.shares) for name, arm in arms.items() if name in VARIANTS} == {
        "firp_blind": ("firp_blind", ""),
        "hidden_transfer": ("hidden_transfer", "firp"),
        "wide": ("medusa", ""),
    }
    trained = {name for name, arm in prepared.items() if arm.trained}
    assert trained == {"firp", "firp_blind", "medusa"}
    tuned = {name for name, arm in prepared.items() if arm.tuned}
    assert tuned == {"hf_generate", "firp", "firp_blind", "hidden_transfer", "medusa"}


def test_a_variant_may_be_trained_with_a_seed_of_its_own(tmp_path: Path) -> None:
    given = config({"firp_second": {"of": "firp", "seed": 7}}) | {"draft_sizes": {"methods": []}}
    planned = Arms(parse_experiment(given), Folder(tmp_path))
    assert [planned.seed(name) for name in ("firp", "firp_second")] == [given["seed"], 7]
    own, other = (planned.settings("mini", name) for name in ("firp", "firp_second"))
    assert other == {"of": "firp", "seed": 7, **own}
    assert parse_arm("firp_second", other) == planned.experiment.arm("mini", "firp_second")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"methods": ["medusa_cartesian"]}, "draft_sizes.methods: 'medusa_cartesian', expected an"),
        ({"methods": ["firp"], "sizes": [1, 2], "timed": [4]}, "timed: 4, expected at most 2, as"),
    ],
)
def test_a_curve_that_cannot_be_drawn_is_refused(change: dict[str, Any], said: str) -> None:
    parse_experiment(config({}) | {"draft_sizes": {"methods": ["firp"]}})  # control
    with pytest.raises(HarnessError, match=said):
        parse_experiment(config({}) | {"draft_sizes": change})


def test_methods_that_learn_need_a_train_split() -> None:
    given = config({}) | {"draft_sizes": {"methods": []}}
    given["datasets"] = {
        "gsm8k": {**given["datasets"]["gsm8k"], "stand_in": {"tune": 3, "test": 3}}
    }
    with pytest.raises(HarnessError, match="datasets: no train split, from which firp, medusa le"):
        parse_experiment(given)
    plain = ("autoregressive", "autoregressive_again", "hf_generate")
    given["methods"] = {name: given["methods"][name] for name in plain}
    parse_experiment(given)


def test_sweeps_need_a_train_split_though_parts_are_shipped() -> None:
    given = config({}) | {"draft_sizes": {"methods": []}, "parts": "shipped"}
    given["models"] = {
        "mini": given["models"]["mini"] | {"parts": "workflows/resources/mini-parts"}
    }
    given["datasets"] = {
        "gsm8k": {**given["datasets"]["gsm8k"], "stand_in": {"tune": 3, "test": 3}}
    }
    parse_experiment(given | {"sweeps": {}})  # control
    with pytest.raises(HarnessError, match="datasets: no train split, from which sweeps of firp"):
        parse_experiment(given | {"sweeps": {"firp": [{"learning_rate": 0.001}]}})


def test_a_model_may_have_settings_for_an_arm_that_sampling_leaves_out() -> None:
    given = config({}) | {"draft_sizes": {"methods": []}, "sampling": {"temperature": 0.7}}
    given["methods"] = given["methods"] | {"medusa_llm": {}}
    given["models"] = {"mini": SMOKE["models"]["mini"] | {"methods": {"medusa_llm": {}}}}
    assert "medusa_llm" not in parse_experiment(given).arm_names


def test_a_variant_of_another_s_parts_follows_them() -> None:
    given = config(
        {
            "heads": {"of": "medusa", "layers": 2},
            "tree": {"of": "medusa_cartesian", "uses": "heads", "widths": [2, 2]},
        }
    )
    given["draft_sizes"] = {"methods": ["firp"]}
    experiment = parse_experiment(given)
    assert experiment.arm("mini", "tree").folder == "heads"
    assert experiment.prepared("mini")["heads"].settings["layers"] == 2


@pytest.mark.parametrize(
    ("variant", "expected"),
    [
        ({}, "variants.new.of: 'None', expected one of autoregressive"),
        ({"of": "firpp"}, "variants.new.of: 'firpp', expected one of autoregressive"),
        ({"of": "firp", "seed": "x"}, "methods.new.seed: "),
        ({"of": "firp", "seed": 0}, "variants.new.seed: 0, expected another one than the"),
        ({"of": "eagle2", "seed": 1}, "variants.new.seed: 1, expected none: it has no training"),
        ({"of": "firp", "uses": "firp", "seed": 1}, "variants.new.seed: 1, expected none"),
        (
            {"of": "firp", "uses": "medusa"},
            "variants.new.uses: 'medusa', expected an arm of",
        ),
        ({"of": "firp", "uses": "new"}, "variants.new.uses: 'new', expected an arm of 'firp' with"),
        ({"of": "firp", "uses": "nope"}, "method 'nope': expected one of autoregressive"),
        (
            {"of": "firp", "uses": "firp", "batch": 5},
            "variants.new.batch: 5, but 'firp', whose training it uses, has 4; expected the same",
        ),
        (
            {"of": "lookahead", "uses": "firp"},
            "variants.new.uses: 'firp', expected an arm of",
        ),
    ],
)
def test_a_variant_that_cannot_be_is_refused(variant: dict[str, Any], expected: str) -> None:
    given = config({"new": variant}) | {"draft_sizes": {"methods": ["firp"]}}
    with pytest.raises(HarnessError) as caught:
        parse_experiment(given)
    assert str(caught.value).removeprefix("config: ").startswith(expected)


def test_a_method_s_own_name_is_no_variant_s() -> None:
    with pytest.raises(HarnessError, match="'firp' is a method's name, expected another one"):
        parse_experiment(config({"firp": {"of": "firp"}}))


def _jobs(folder: Path, *change: str) -> Counter[tuple[str, str]]:
    """(rule, method) of the jobs that a dry run lists."""
    said = snakemake(folder, "all", "-n", "--configfile", "own.yaml", *change)
    assert said.returncode == 0, said.stdout[-2000:] + said.stderr[-2000:]
    found = re.findall(r"rule (\w+):(?:\n    .*)*?\n    wildcards: .*method=(\w+)", said.stdout)
    return Counter(found)


def test_jobs_of_variants_are_planned(tmp_path: Path) -> None:
    copy_project(tmp_path / "project")
    (tmp_path / "project/own.yaml").write_text(yaml.safe_dump(config(VARIANTS)))
    jobs = _jobs(tmp_path / "project")
    rules = ("train_method", "tune_method", "share_parts")
    by_rule = {rule: {name for of, name in jobs if of == rule} for rule in rules}
    assert by_rule == {
        "train_method": {"firp", "firp_blind", "medusa"},
        "tune_method": {"hf_generate", "firp", "firp_blind", "hidden_transfer", "medusa"},
        "share_parts": {"hidden_transfer"},
    }
    (tmp_path / "project/own.yaml").write_text(
        yaml.safe_dump(config({"firp_blind": VARIANTS["firp_blind"]}))
    )
    assert ("share_parts", "hidden_transfer") not in _jobs(tmp_path / "project"), "control"


@pytest.mark.whole
def test_variants_run_from_their_training_to_the_report(tmp_path: Path) -> None:
    """And the arms that the smoke run leaves out, one of them with the parts of another method."""
    folder = tmp_path / "project"
    copy_project(folder)
    given = config(VARIANTS | FOLLOWING)
    given["methods"] |= LEFT_OUT
    (folder / "own.yaml").write_text(yaml.safe_dump(given))
    done = snakemake(folder, "all", "--configfile", "own.yaml")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    root = folder / "results/smoke"
    arms = root / "methods/mini"
    learnt, shared = (
        arms / name / "projections.safetensors" for name in ("firp", "hidden_transfer")
    )
    assert learnt.read_bytes() == shared.read_bytes()
    assert learnt.read_bytes() != (arms / "firp_blind/projections.safetensors").read_bytes()
    chosen = {
        name: json.loads((arms / name / "setting.json").read_text())
        for name in (*VARIANTS, *FOLLOWING)
        if name != "wide"
    }
    assert chosen["firp_parents"]["policy"] == "dynamic"
    assert (chosen["hidden_transfer"]["drafts"], chosen["firp_blind"]["drafts"]) == (2, 3)
    layout = json.loads((arms / "firp_blind/config.json").read_text())["layout"]
    assert layout["steps_see_earlier"] is False
    summary = pd.read_csv(root / "tables/summary.csv").set_index("method")
    assert set(VARIANTS) | set(FOLLOWING) | set(LEFT_OUT) <= set(summary.index)
    assert (summary.loc[list(LEFT_OUT), "draft_size"] > 0).all()
    assert (summary["exact_match_rate"] == 1).all()
    assert (
        summary.loc["hidden_transfer", "training_seconds"]
        == summary.loc["firp", "training_seconds"]
    )
    assert summary.loc["hidden_transfer", "draft_size"] < summary.loc["firp", "draft_size"]
    assert summary.loc["wide", "trainable_parameters"] > 0
    curve = pd.read_csv(root / "curve/mini.csv")
    assert set(curve["method"]) == {"firp", "firp_blind"}
    facts = json.loads((root / "tables/facts.json").read_text())
    assert {name: facts["uses"][name] for name in VARIANTS} == {
        "firp_blind": "firp_blind",
        "hidden_transfer": "hidden_transfer",
        "wide": "medusa",
    }
    pages = PdfReader(folder / "reports/gsm8k.pdf").pages
    text = re.sub(r"\s+", " ", " ".join(page.extract_text() for page in pages))
    assert "firp_blind is FIRP with steps_see_earlier False." in text
    assert "hidden_transfer is FIRP with drafts [2], after the training of FIRP." in text
    again = snakemake(folder, "all", "--configfile", "own.yaml")
    assert "Nothing to be done" in again.stdout + again.stderr
