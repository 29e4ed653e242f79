# Frozen prompts, and the target's own answers to the train and tune splits.


# One process a model and split, for all data sets that have it: loading takes longer than freezing.
rule freeze_prompts:
    input:
        data=frozen_from("test"),
        model=model_files,
    output:
        frozen_files("test"),
    log:
        f"{ROOT}/logs/freeze/{{model}}-test.log",
    conda:
        "../../environment.yml"
    threads: workflow.cores
    resources:
        gpu=GPUS if MULTI_TURN else 0,
    params:
        torch_threads=config["threads"],
        model=model_spec,
        splits=frozen_splits("test"),
    shell:
        "python -m harness --threads {params.torch_threads} freeze --model {params.model:q}"
        " --splits {params.splits:q} 2>&1 | (tee {log} || true)"


use rule freeze_prompts as freeze_tune_prompts with:
    input:
        data=frozen_from("tune"),
        model=model_files,
    output:
        frozen_files("tune"),
    log:
        f"{ROOT}/logs/freeze/{{model}}-tune.log",
    params:
        torch_threads=config["threads"],
        model=model_spec,
        splits=frozen_splits("tune"),


if having("train"):

    use rule freeze_prompts as freeze_train_prompts with:
        input:
            data=frozen_from("train"),
            model=model_files,
        output:
            frozen_files("train"),
        log:
            f"{ROOT}/logs/freeze/{{model}}-train.log",
        params:
            torch_threads=config["threads"],
            model=model_spec,
            splits=frozen_splits("train"),


rule answer:
    input:
        prompts=split_prompts,
        first_turns=first_turns,
        model=model_files,
    output:
        f"{ROOT}/answers/{{model}}/{{split}}.jsonl",
    log:
        f"{ROOT}/logs/answer/{{model}}-{{split}}.log",
    conda:
        "../../environment.yml"
    threads: workflow.cores
    resources:
        gpu=GPUS,
    params:
        torch_threads=config["threads"],
        model=model_spec,
        caps=caps(),
        first=lambda wc, input: f"--first-turns {input.first_turns}" if input.first_turns else "",
    shell:
        "python -m harness --threads {params.torch_threads} answer --model {params.model:q} --prompts {input.prompts}"
        " {params.first} --caps {params.caps:q} --out {output} 2>&1 | (tee {log} || true)"
