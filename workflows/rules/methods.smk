# Training and tuning of methods, on the train and tune splits alone.


# Every method's own settings class checks its part of the config. Only sessions wait for it; its
# priority makes it the first job that runs.
rule check_methods:
    output:
        f"{ROOT}/checked.json",
    log:
        f"{ROOT}/logs/check_methods.log",
    priority: 1000
    conda:
        "../../environment.yml"
    params:
        methods=list(dict.fromkeys(map(methods_of, MODELS))),
    shell:
        "python -m harness check --methods {params.methods:q} --out {output} 2>&1 | (tee {log} || true)"


rule train_method:
    input:
        train=f"{ROOT}/answers/{{model}}/train.jsonl",
        tune=f"{ROOT}/answers/{{model}}/tune.jsonl",
        prompts=tune_prompts,
        model=model_files,
    output:
        config=f"{ROOT}/methods/{{model}}/{{method}}/config.json",
    log:
        f"{ROOT}/logs/train/{{model}}-{{method}}.log",
    wildcard_constraints:
        method="|".join(TRAINED) if config["parts"] == "trained" else NONE,
    conda:
        "../../environment.yml"
    threads: workflow.cores
    resources:
        gpu=GPUS,
        slurm_extra=ALONE,
    params:
        torch_threads=config["threads"],
        model=model_spec,
        settings=training_settings,
        budget=budget,
        caps=caps(),
        seed=config["seed"],
    shell:
        "python -m harness --threads {params.torch_threads} train --method {wildcards.method} --settings {params.settings:q}"
        " --model {params.model:q} --train-answers {input.train} --tune-answers {input.tune}"
        " --prompts {input.prompts} --caps {params.caps:q} {params.budget} --seed {params.seed}"
        " --folder $(dirname {output.config}) 2>&1 | (tee {log} || true)"


# Ready-made parts in place of a training, under `parts: shipped`.
rule take_parts:
    input:
        record=parts_record,
        model=model_files,
    output:
        collect(f"{ROOT}/methods/{{{{model}}}}/{{method}}/config.json", method=TRAINED),
    log:
        f"{ROOT}/logs/take_parts/{{model}}.log",
    wildcard_constraints:
        model="|".join(MODELS) if config["parts"] == "shipped" else NONE,
    conda:
        "../../environment.yml"
    params:
        model=model_spec,
        methods=trained_methods,
        parts=parts_folder,
        folders=folders_of_outputs,
    shell:
        "python -m harness take-parts --methods {params.methods:q} --model {params.model:q}"
        " --parts {params.parts:q} --folders {params.folders:q} > {log} 2>&1"


# What was trained, in the form in which parts are shipped; a target of its own, not in `all`.
rule parts:
    input:
        collect(f"{ROOT}/parts/{{model}}/record.json", model=MODELS),


rule collect_parts:
    input:
        trained=collect(f"{ROOT}/methods/{{{{model}}}}/{{method}}/config.json", method=TRAINED),
    output:
        f"{ROOT}/parts/{{model}}/record.json",
    log:
        f"{ROOT}/logs/collect_parts/{{model}}.log",
    conda:
        "../../environment.yml"
    params:
        methods=trained_methods,
        folders=methods_folder,
    shell:
        "python -m harness collect-parts --methods {params.methods:q} --folders {params.folders:q}"
        " --out $(dirname {output}) > {log} 2>&1"


rule draft_size_curve:
    input:
        train=train_answers,
        tune=f"{ROOT}/answers/{{model}}/tune.jsonl",
        prompts=tune_prompts,
        model=model_files,
        trained=collect(
            f"{ROOT}/methods/{{{{model}}}}/{{method}}/setting.json", method=CURVE["methods"]
        ),
    output:
        f"{ROOT}/curve/{{model}}.csv",
    log:
        f"{ROOT}/logs/curve/{{model}}.log",
    conda:
        "../../environment.yml"
    threads: workflow.cores
    resources:
        gpu=GPUS,
        slurm_extra=ALONE,
    params:
        torch_threads=config["threads"],
        model=model_spec,
        methods=curve_methods,
        largest=max(CURVE["sizes"]),
        train=train_answers_option,
        timed=CURVE["timed"],
        caps=caps(),
        seed=config["seed"],
        folders=methods_folder,
    shell:
        "python -m harness --threads {params.torch_threads} curve --methods {params.methods:q}"
        " --largest {params.largest} --timed {params.timed} --model {params.model:q} {params.train}"
        " --tune-answers {input.tune} --prompts {input.prompts} --caps {params.caps:q}"
        " --seed {params.seed} --folders {params.folders:q} --out {output} 2>&1 | (tee {log} || true)"


rule tune_method:
    input:
        train=train_answers,
        tune=f"{ROOT}/answers/{{model}}/tune.jsonl",
        prompts=tune_prompts,
        forwards=f"{ROOT}/cost/{{model}}.csv",
        model=model_files,
        weights=branch(
            lambda wc: wc.method in TRAINED,
            then=f"{ROOT}/methods/{{model}}/{{method}}/config.json",
        ),
    output:
        setting=f"{ROOT}/methods/{{model}}/{{method}}/setting.json",
        spent=f"{ROOT}/methods/{{model}}/{{method}}/spent.json",
    log:
        f"{ROOT}/logs/tune/{{model}}-{{method}}.log",
    conda:
        "../../environment.yml"
    threads: workflow.cores
    resources:
        gpu=GPUS,
        slurm_extra=ALONE,
    params:
        torch_threads=config["threads"],
        model=model_spec,
        settings=tuning_settings,
        train=train_answers_option,
        budget=budget,
        caps=caps(),
        seed=config["seed"],
    shell:
        "python -m harness --threads {params.torch_threads} tune --method {wildcards.method} --settings {params.settings:q}"
        " --model {params.model:q} {params.train} --tune-answers {input.tune} --forwards {input.forwards}"
        " --prompts {input.prompts} --caps {params.caps:q} {params.budget} --seed {params.seed}"
        " --folder $(dirname {output.setting}) 2>&1 | (tee {log} || true)"
