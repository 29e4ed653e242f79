# Training and tuning of methods, on the train and tune splits alone.


# Every method's own settings class checks its part of the config, and whether it fits the model, unless the run itself
# still has to train that model. Only sessions and `parts` wait for this check; sweeps wait for one of their own, of
# their variants. Its priority makes it the first job that runs.
rule check_methods:
    input:
        model=lambda wc: TARGETS.files(wc.model) if TARGETS.known(wc.model) else [],
    output:
        FOLDER.checked("{model}"),
    log:
        FOLDER.log("check_methods", "{model}"),
    priority: 1000
    conda:
        "../../environment.yml"
    params:
        target=lambda wc: TARGETS.checked_option(wc.model),
        methods=lambda wc: ARMS.checked_json(wc.model),
    shell:
        "python -m harness check --methods {params.methods:q} {params.target} --out {output} 2>&1 | (tee {log} || true)"


rule train_method:
    input:
        train=FOLDER.answers("{model}", "train"),
        tune=FOLDER.answers("{model}", "tune"),
        prompts=lambda wc: QUESTIONS.prompts(wc.model, "tune"),
        model=lambda wc: TARGETS.files(wc.model),
    output:
        config=FOLDER.method("{model}", "{method}", CONFIG),
    log:
        FOLDER.log("train", "{model}-{method}"),
    wildcard_constraints:
        method=NONE if SHIPPED else "|".join(TRAINED) or NONE,
    conda:
        "../../environment.yml"
    threads: workflow.cores
    resources:
        gpu=GPUS,
        slurm_extra=ALONE,
    params:
        torch_threads=EXPERIMENT.threads,
        model=lambda wc: TARGETS.training_json(wc.model, ARMS.searches(wc.method)),
        settings=lambda wc: ARMS.training_json(wc.model, wc.method),
        budget=BUDGET,
        caps=QUESTIONS.caps_json,
        seed=lambda wc: ARMS.seed(wc.method),
    shell:
        "python -m harness --threads {params.torch_threads} train --method {wildcards.method} --settings {params.settings:q}"
        " --model {params.model:q} --train-answers {input.train} --tune-answers {input.tune}"
        " --prompts {input.prompts} --caps {params.caps:q} {params.budget} --seed {params.seed}"
        " --folder $(dirname {output.config}) 2>&1 | (tee {log} || true)"


# Ready-made parts in place of a training, under `parts: shipped`.
rule take_parts:
    input:
        record=lambda wc: f"{EXPERIMENT.models[wc.model].parts}/record.json",
        model=lambda wc: TARGETS.files(wc.model),
    output:
        [FOLDER.method("{model}", name, CONFIG) for name in TRAINED],
    log:
        FOLDER.log("take_parts", "{model}"),
    wildcard_constraints:
        model="|".join(MODELS) if SHIPPED else NONE,
    conda:
        "../../environment.yml"
    params:
        model=lambda wc: TARGETS.answers_json(wc.model),
        methods=lambda wc: ARMS.training_of(wc.model, TRAINED),
        parts=lambda wc: EXPERIMENT.models[wc.model].parts,
        folders=lambda wc, output: Path(output[0]).parents[1],
    shell:
        "python -m harness take-parts --methods {params.methods:q} --model {params.model:q}"
        " --parts {params.parts:q} --folders {params.folders:q} > {log} 2>&1"


# An arm that takes another one's training (`uses`, `parts_of`) gets its parts, and a tuning of its own.
rule share_parts:
    input:
        lambda wc: FOLDER.method(wc.model, ARMS.used_by(wc.method), CONFIG),
    output:
        FOLDER.method("{model}", "{method}", CONFIG),
    log:
        FOLDER.log("share_parts", "{model}-{method}"),
    wildcard_constraints:
        method="|".join(SHARING) or NONE,
    conda:
        "../../environment.yml"
    shell:
        "python -m harness share-parts --trained $(dirname {input}) --folder $(dirname {output})"
        " > {log} 2>&1"


# What was trained, in the form in which parts are shipped; a target of its own, not in `all`.
rule parts:
    input:
        [FOLDER.checked(model) for model in MODELS],
        [FOLDER.parts(model) for model in MODELS],


rule collect_parts:
    input:
        trained=[FOLDER.method("{model}", name, CONFIG) for name in TRAINED],
    output:
        FOLDER.parts("{model}"),
    log:
        FOLDER.log("collect_parts", "{model}"),
    conda:
        "../../environment.yml"
    params:
        torch_threads=EXPERIMENT.threads,
        methods=lambda wc: ARMS.training_of(wc.model, TRAINED),
        folders=lambda wc, input: Path(input.trained[0]).parents[1],
        device=EXPERIMENT.device,
    shell:
        "python -m harness --threads {params.torch_threads} collect-parts --methods {params.methods:q} --folders {params.folders:q}"
        " --device {params.device:q} --out $(dirname {output}) > {log} 2>&1"


rule draft_size_curve:
    input:
        train=TRAIN_ANSWERS,
        tune=FOLDER.answers("{model}", "tune"),
        prompts=lambda wc: QUESTIONS.prompts(wc.model, "tune"),
        model=lambda wc: TARGETS.files(wc.model),
        trained=[FOLDER.method("{model}", name, SETTING) for name in CURVE.methods],
    output:
        FOLDER.curve("{model}"),
    log:
        FOLDER.log("curve", "{model}"),
    conda:
        "../../environment.yml"
    threads: workflow.cores
    resources:
        gpu=GPUS,
        slurm_extra=ALONE,
    params:
        torch_threads=EXPERIMENT.threads,
        model=lambda wc: TARGETS.load_json(wc.model),
        methods=lambda wc: ARMS.json(wc.model, CURVE.methods),
        largest=max(CURVE.sizes),
        train=train_answers_option,
        timed=CURVE.timed,
        caps=QUESTIONS.caps_json,
        sampling=SESSIONS.sampling_option,
        seed=EXPERIMENT.seed,
        folders=lambda wc, input: Path(input.trained[0]).parents[1],
    shell:
        "python -m harness --threads {params.torch_threads} curve --methods {params.methods:q}"
        " --largest {params.largest} --timed {params.timed} --model {params.model:q} {params.train}"
        " --tune-answers {input.tune} --prompts {input.prompts} --caps {params.caps:q}"
        " {params.sampling} --seed {params.seed} --folders {params.folders:q} --out {output} 2>&1 | (tee {log} || true)"


rule tune_method:
    input:
        train=TRAIN_ANSWERS,
        tune=FOLDER.answers("{model}", "tune"),
        prompts=lambda wc: QUESTIONS.prompts(wc.model, "tune"),
        forwards=FOLDER.cost("{model}"),
        model=lambda wc: TARGETS.files(wc.model),
        weights=branch(
            lambda wc: wc.method in (*TRAINED, *SHARING),
            then=FOLDER.method("{model}", "{method}", CONFIG),
        ),
    output:
        setting=FOLDER.method("{model}", "{method}", SETTING),
        spent=FOLDER.method("{model}", "{method}", SPENT),
    log:
        FOLDER.log("tune", "{model}-{method}"),
    conda:
        "../../environment.yml"
    threads: workflow.cores
    resources:
        gpu=GPUS,
        slurm_extra=ALONE,
    params:
        torch_threads=EXPERIMENT.threads,
        model=lambda wc: TARGETS.load_json(wc.model),
        settings=lambda wc: ARMS.tuning_json(wc.model, wc.method),
        train=train_answers_option,
        budget=BUDGET,
        caps=QUESTIONS.caps_json,
        sampling=SESSIONS.sampling_option,
        seed=EXPERIMENT.seed,
    shell:
        "python -m harness --threads {params.torch_threads} tune --method {wildcards.method} --settings {params.settings:q}"
        " --model {params.model:q} {params.train} --tune-answers {input.tune} --forwards {input.forwards}"
        " --prompts {input.prompts} --caps {params.caps:q} {params.budget} {params.sampling}"
        " --seed {params.seed}"
        " --folder $(dirname {output.setting}) 2>&1 | (tee {log} || true)"


# Tables for readers of what a training gave: no clock runs, and no budget counts it.
rule examine_method:
    input:
        train=TRAIN_ANSWERS,
        tune=FOLDER.answers("{model}", "tune"),
        model=lambda wc: TARGETS.files(wc.model),
        trained=FOLDER.method("{model}", "{method}", SETTING),
    output:
        learnt=FOLDER.method("{model}", "{method}", LEARNT),
    log:
        FOLDER.log("examine", "{model}-{method}"),
    wildcard_constraints:
        method="|".join(name for name in ARMS.examined if name not in ARMS.with_pseudo_states)
        or NONE,
    conda:
        "../../environment.yml"
    threads: workflow.cores
    resources:
        gpu=GPUS,
    params:
        torch_threads=EXPERIMENT.threads,
        model=lambda wc: TARGETS.load_json(wc.model),
        settings=lambda wc: ARMS.tuning_json(wc.model, wc.method),
        train=train_answers_option,
        seed=lambda wc: ARMS.seed(wc.method),
    shell:
        "python -m harness --threads {params.torch_threads} examine --method {wildcards.method} --seed {params.seed}"
        " --settings {params.settings:q} --model {params.model:q} {params.train} --tune-answers {input.tune}"
        " --folder $(dirname {output.learnt}) 2>&1 | (tee {log} || true)"


use rule examine_method as examine_pseudo_states with:
    output:
        learnt=FOLDER.method("{model}", "{method}", LEARNT),
        cosine=FOLDER.method("{model}", "{method}", COSINE),
    wildcard_constraints:
        method="|".join(ARMS.with_pseudo_states) or NONE,


rule check_trees:
    input:
        model=lambda wc: TARGETS.files(wc.model),
    output:
        FOLDER.trees("{model}"),
    log:
        FOLDER.log("check_trees", "{model}"),
    conda:
        "../../environment.yml"
    threads: workflow.cores
    resources:
        gpu=GPUS,
    params:
        torch_threads=EXPERIMENT.threads,
        model=lambda wc: TARGETS.load_json(wc.model),
    shell:
        "python -m harness --threads {params.torch_threads} check-trees --model {params.model:q}"
        " --out {output} 2>&1 | (tee {log} || true)"
