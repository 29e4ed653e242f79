"""What page 1 of every report says of a run: target, machine, choice of tokens, what is fair."""

from harness.experiment.facts import Facts
from harness.experiment.steps import Outline
from harness.presentation.verdicts import verdicts
from harness.presentation.wording import joined

_MARK = {True: "yes", False: "NO", None: "not known"}


def run_data(facts: Facts) -> dict[str, object]:
    """What the template of a report says was run, and whether it was fair."""
    experiment, machine = facts["experiment"], facts["machine"]
    packages = facts["packages"]
    shards = experiment.get("shards", 1)
    sessions = f"{experiment['sessions']}" + (f", each in {shards} shards" if shards > 1 else "")
    where = machine.get("gpu") or f"{machine['cpu']}, {machine['threads']} threads"
    return {
        "experiment": experiment["experiment"],
        "title": experiment["title"],
        "stand_in": experiment["stand_in"],
        "models": len(experiment["models"]),
        "setup": [
            [
                "Target",
                ", ".join(_target(experiment, of, n) for of, n in facts["parameters"].items()),
            ],
            ["Hardware", f"{where}; {experiment['dtype']}"],
            ["Software", ", ".join(f"{k} {v}" for k, v in packages.items())],
            [
                "Sessions",
                f"{sessions}; all arms in each, random balanced order",
            ],
            [
                "Token choice",
                f"{_sampling(experiment)}, batch size 1, one cap and one stop rule; arms marked "
                "lossy, if any, accept more",
            ],
            *_baseline(facts),
            ["Commit", ", ".join(map(_short, facts["commit"].split(", ")))],
        ],
        "verdicts": verdicts(facts),
        "checklist": checklist_rows(facts),
    }


def _baseline(facts: Facts) -> list[list[str]]:
    """How near the baseline comes to the copy bandwidth; empty where that was not measured."""
    shares = facts.get("copy_shares", {})
    rates = [
        f"{100 * share:.0f} %" + (f" ({model})" if len(shares) > 1 else "")
        for model, share in shares.items()
    ]
    if not rates:
        return []
    rest = "of the device's copy bandwidth is the rate at which a forward of one row reads weights"
    return [["Baseline", f"{joined(rates)} {rest} and cache"]]


def _sampling(experiment: Outline) -> str:
    """How tokens are chosen, in words."""
    sampling = experiment.get("sampling")
    if sampling is None:
        return "greedy"
    nucleus = "" if sampling["top_p"] == 1 else f", top-p {sampling['top_p']:g}"
    block = sampling.get("block_temperature")
    adapted = "" if block is None else f" ({block:g} where a line of a block of code begins, AdapT)"
    drawn = f"drawn at temperature {sampling['temperature']:g}{adapted}{nucleus}"
    return f"{drawn}, with the same noise for all arms, so that lossless ones give the same tokens"


def checklist_rows(facts: Facts) -> list[list[str]]:
    """What was checked, whether it holds, and a detail."""
    return [[check["what"], _MARK[check["holds"]], check["detail"]] for check in facts["checklist"]]


def _target(experiment: Outline, model: str, parameters: int) -> str:
    packed = experiment.get("weights", {}).get(model, "full")
    suffix = "" if packed == "full" else f" in {packed}"
    return f"{model}: {parameters:,} parameters{suffix}"


def _short(commit: str) -> str:
    return commit[:12] + ("-dirty" if commit.endswith("-dirty") else "")
