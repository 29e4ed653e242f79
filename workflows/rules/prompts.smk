# Frozen prompts, and the target's own answers to the train and tune splits.


# One process a model and split, for all data sets that have it: loading takes longer than freezing.
rule freeze_prompts:
    input:
        data=QUESTIONS.frozen_from("test"),
        model=lambda wc: TARGETS.files(wc.model),
    output:
        QUESTIONS.frozen("{model}", "test"),
    log:
        FOLDER.log("freeze", "{model}-test"),
    conda:
        "../../environment.yml"
    threads: workflow.cores
    resources:
        gpu=GPUS if QUESTIONS.several_turns else 0,
    params:
        torch_threads=EXPERIMENT.threads,
        model=lambda wc: TARGETS.load_json(wc.model),
        splits=lambda wc: QUESTIONS.freeze_json(wc.model, "test"),
    shell:
        "python -m harness --threads {params.torch_threads} freeze --model {params.model:q}"
        " --splits {params.splits:q} 2>&1 | (tee {log} || true)"


use rule freeze_prompts as freeze_tune_prompts with:
    input:
        data=QUESTIONS.frozen_from("tune"),
        model=lambda wc: TARGETS.files(wc.model),
    output:
        QUESTIONS.frozen("{model}", "tune"),
    log:
        FOLDER.log("freeze", "{model}-tune"),
    params:
        torch_threads=EXPERIMENT.threads,
        model=lambda wc: TARGETS.load_json(wc.model),
        splits=lambda wc: QUESTIONS.freeze_json(wc.model, "tune"),


if QUESTIONS.having("train"):

    use rule freeze_prompts as freeze_train_prompts with:
        input:
            data=QUESTIONS.frozen_from("train"),
            model=lambda wc: TARGETS.files(wc.model),
        output:
            QUESTIONS.frozen("{model}", "train"),
        log:
            FOLDER.log("freeze", "{model}-train"),
        params:
            torch_threads=EXPERIMENT.threads,
            model=lambda wc: TARGETS.load_json(wc.model),
            splits=lambda wc: QUESTIONS.freeze_json(wc.model, "train"),


if QUESTIONS.having("uncut"):

    use rule freeze_prompts as freeze_uncut_prompts with:
        input:
            data=QUESTIONS.frozen_from("uncut"),
            model=lambda wc: TARGETS.files(wc.model),
        output:
            QUESTIONS.frozen("{model}", "uncut"),
        log:
            FOLDER.log("freeze", "{model}-uncut"),
        params:
            torch_threads=EXPERIMENT.threads,
            model=lambda wc: TARGETS.load_json(wc.model),
            splits=lambda wc: QUESTIONS.freeze_json(wc.model, "uncut"),

    # No clock runs: all answers in batches, as long as they would be by themselves.
    rule answer_uncut:
        input:
            prompts=lambda wc: QUESTIONS.prompts(wc.model, "uncut"),
            model=lambda wc: TARGETS.files(wc.model),
        output:
            FOLDER.uncut("{model}"),
        log:
            FOLDER.log("answer_uncut", "{model}"),
        conda:
            "../../environment.yml"
        threads: workflow.cores
        resources:
            gpu=GPUS,
        params:
            torch_threads=EXPERIMENT.threads,
            model=lambda wc: TARGETS.load_json(wc.model),
            caps=QUESTIONS.uncut_caps_json,
        shell:
            "python -m harness --threads {params.torch_threads} uncut --model {params.model:q}"
            " --prompts {input.prompts} --caps {params.caps:q} --out {output} 2>&1 | (tee {log} || true)"


rule answer:
    input:
        prompts=lambda wc: QUESTIONS.prompts(wc.model, wc.split),
        first_turns=lambda wc: QUESTIONS.first_turns(wc.model, wc.split),
        model=lambda wc: TARGETS.files(wc.model),
    output:
        FOLDER.answers("{model}", "{split}"),
    log:
        FOLDER.log("answer", "{model}-{split}"),
    conda:
        "../../environment.yml"
    threads: workflow.cores
    resources:
        gpu=GPUS,
    params:
        torch_threads=EXPERIMENT.threads,
        model=lambda wc: TARGETS.load_json(wc.model),
        caps=QUESTIONS.caps_json,
        first=lambda wc, input: f"--first-turns {input.first_turns}" if input.first_turns else "",
    shell:
        "python -m harness --threads {params.torch_threads} answer --model {params.model:q} --prompts {input.prompts}"
        " {params.first} --caps {params.caps:q} --out {output} 2>&1 | (tee {log} || true)"
