# What Snakemake alone must know of an experiment: wildcards, resources, and which rules are in use.
# Paths and what jobs are given are in harness/experiment, in plan/ by kind of job; rules pass plain JSON
# to the command line.
from pathlib import Path

from snakemake.exceptions import WorkflowError

from harness.errors import HarnessError
from harness.experiment.config import parse_experiment
from harness.experiment.folder import CONFIG, COSINE, LEARNT, SETTING, SPENT, Folder
from harness.experiment.plan.methods import Arms
from harness.experiment.plan.questions import Questions
from harness.experiment.plan.sessions import Sessions
from harness.experiment.plan.targets import DEQUANTISED, REBUILT, Targets
from harness.experiment.steps import as_json

try:
    EXPERIMENT = parse_experiment(config)
    FOLDER = Folder(Path("results") / EXPERIMENT.experiment)
    TARGETS, QUESTIONS = Targets(EXPERIMENT, FOLDER), Questions(EXPERIMENT, FOLDER)
    ARMS, SESSIONS = Arms(EXPERIMENT, FOLDER), Sessions(EXPERIMENT)
except HarnessError as error:
    raise WorkflowError(str(error)) from None

ROOT = str(FOLDER.root)
SUMMARY = FOLDER.table("summary")
MODELS = list(EXPERIMENT.models)
DATASETS = list(EXPERIMENT.datasets)
CURVE = EXPERIMENT.draft_sizes
TRAINED, TUNED, SHARING = ARMS.trained, ARMS.tuned, ARMS.sharing
SHIPPED = EXPERIMENT.parts == "shipped"
REPORTS = [*DATASETS, "paper", "analysis"]
SHARDED = EXPERIMENT.shards > 1
# What `snakemake engine` times: shapes with random weights, and models of the experiment.
BENCHED = [*EXPERIMENT.engine.shapes, *EXPERIMENT.engine.models]
# What a job on the device asks of a cluster; on one machine its threads keep it alone.
GPUS = 0 if EXPERIMENT.device == "cpu" else 1
# Whatever is timed, training and tuning too, has its node to itself. It stands in the rules since
# --set-resources would take the place of a profile's and drop it without a word.
ALONE = "--exclusive"
NONE = "(?!)"  # as a wildcard's pattern: no value fits, so that the rule is out of use
BUDGET = "" if EXPERIMENT.budget is None else f"--budget {EXPERIMENT.budget:g}"


wildcard_constraints:
    gguf="[0-9a-f]+",
    model="|".join(MODELS),
    dataset="|".join(DATASETS),
    split="train|tune|test",
    method="|".join(
        dict.fromkeys(
            [*EXPERIMENT.arm_names, *TRAINED, *TUNED, *CURVE.methods, *EXPERIMENT.sweeps]
        )
    ),
    session=r"\d+",
    shard=r"\d+",
    variant=r"\d+",
    bench="|".join(BENCHED) or "none",
    name="|".join(REPORTS),


# What methods learn from; nothing where their parts are ready-made, or where no method learns.
LEARNT_FROM = QUESTIONS.having("train") and not SHIPPED
TRAIN_ANSWERS = FOLDER.answers("{model}", "train") if LEARNT_FROM else []


def train_answers_option(wildcards, input):
    return f"--train-answers {input.train}" if input.train else ""
