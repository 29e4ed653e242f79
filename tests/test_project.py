"""The project's own files agree with each other."""

import re
import tomllib

import yaml

from tests import ROOT


def _pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return dict(line.lower().replace("_", "-").split("==") for line in lines if "==" in line)


def _dependencies() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return list(project["dependencies"])


def test_conda_environment_lists_the_dependencies_at_the_pinned_versions() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    (pip,) = (entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))
    pins = _pins()
    assert sorted(pip) == sorted(f"{name}=={pins[name]}" for name in _dependencies())


def test_every_dependency_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    assert {name for names in [_dependencies(), *extras] for name in names} <= set(_pins())


def test_ci_runs_the_readme_s_test_command_to_the_letter() -> None:
    commands = re.findall(r"```\n(.+)\n```", (ROOT / "README.md").read_text())
    assert len(commands) >= 2
    assert commands[1].endswith("pytest")
    assert commands[1] in (ROOT / ".ci" / "run").read_text().splitlines()


def test_every_path_that_the_readme_names_exists() -> None:
    text = (ROOT / "README.md").read_text()
    tree = text.split("## Where to look")[1].split("```")[1]
    for line in tree.strip().splitlines():
        first = line.split("  ")[0]
        for name in first.split(", "):
            assert (ROOT / name).exists() or (ROOT / "harness" / name).exists(), name
