# A sweep over a method's settings on the train and tune splits; a target of its own, not in `all`.
SWEPT = EXPERIMENT.sweeps


rule sweep:
    input:
        [FOLDER.checked(f"{model}.sweeps") for model in MODELS],
        [FOLDER.sweep_table(model, method) for model in MODELS for method in SWEPT],


use rule check_methods as check_sweeps with:
    output:
        FOLDER.checked("{model}.sweeps"),
    log:
        FOLDER.log("check_sweeps", "{model}"),
    params:
        target=lambda wc: TARGETS.checked_option(wc.model),
        methods=lambda wc: ARMS.swept_json(wc.model),


use rule train_method as sweep_train with:
    output:
        config=FOLDER.sweep("{model}", "{method}", "{variant}", CONFIG),
    log:
        FOLDER.log("sweep_train", "{model}-{method}-{variant}"),
    wildcard_constraints:
        method="|".join(SWEPT) or NONE,
    params:
        torch_threads=EXPERIMENT.threads,
        model=lambda wc: TARGETS.training_json(wc.model, ARMS.searches(wc.method)),
        settings=lambda wc: ARMS.training_json(wc.model, wc.method, wc.variant),
        budget=lambda wc: ARMS.sweep_seconds(wc.method, wc.variant),
        caps=QUESTIONS.caps_json,
        seed=lambda wc: ARMS.sweep_seed(wc.method, wc.variant),


use rule tune_method as sweep_tune with:
    input:
        train=FOLDER.answers("{model}", "train"),
        tune=FOLDER.answers("{model}", "tune"),
        prompts=lambda wc: QUESTIONS.prompts(wc.model, "tune"),
        forwards=FOLDER.cost("{model}"),
        model=lambda wc: TARGETS.files(wc.model),
        weights=FOLDER.sweep("{model}", "{method}", "{variant}", CONFIG),
    output:
        setting=FOLDER.sweep("{model}", "{method}", "{variant}", SETTING),
        spent=FOLDER.sweep("{model}", "{method}", "{variant}", SPENT),
    log:
        FOLDER.log("sweep_tune", "{model}-{method}-{variant}"),
    params:
        torch_threads=EXPERIMENT.threads,
        model=lambda wc: TARGETS.load_json(wc.model),
        settings=lambda wc: ARMS.tuning_json(wc.model, wc.method, wc.variant),
        train=train_answers_option,
        budget="",
        caps=QUESTIONS.caps_json,
        sampling=SESSIONS.sampling_option,
        seed=EXPERIMENT.seed,


rule sweep_table:
    input:
        lambda wc: [
            FOLDER.sweep(wc.model, wc.method, variant, SETTING)
            for variant in range(len(SWEPT[wc.method]))
        ],
    output:
        FOLDER.sweep_table("{model}", "{method}"),
    log:
        FOLDER.log("sweep_table", "{model}-{method}"),
    conda:
        "../../environment.yml"
    params:
        variants=lambda wc: as_json(SWEPT[wc.method]),
    shell:
        "python -m harness sweep-table --model {wildcards.model} --method {wildcards.method} --variants {params.variants:q} --settings {input}"
        " --out {output} 2>&1 | (tee {log} || true)"
