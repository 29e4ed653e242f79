# A sweep over a method's settings on the train and tune splits; a target of its own, not in `all`.
SWEPT = config["sweeps"]


rule sweep:
    input:
        collect(f"{ROOT}/sweep/{{model}}-{{method}}.csv", model=MODELS, method=list(SWEPT)),


use rule train_method as sweep_train with:
    output:
        config=f"{ROOT}/sweep/{{model}}/{{method}}/{{variant}}/config.json",
    log:
        f"{ROOT}/logs/sweep_train/{{model}}-{{method}}-{{variant}}.log",
    params:
        torch_threads=config["threads"],
        model=model_spec,
        settings=training_settings,
        budget="",
        caps=caps(),
        seed=config["seed"],


use rule tune_method as sweep_tune with:
    input:
        train=f"{ROOT}/answers/{{model}}/train.jsonl",
        tune=f"{ROOT}/answers/{{model}}/tune.jsonl",
        prompts=tune_prompts,
        forwards=f"{ROOT}/cost/{{model}}.csv",
        model=model_files,
        weights=f"{ROOT}/sweep/{{model}}/{{method}}/{{variant}}/config.json",
    output:
        setting=f"{ROOT}/sweep/{{model}}/{{method}}/{{variant}}/setting.json",
        spent=f"{ROOT}/sweep/{{model}}/{{method}}/{{variant}}/spent.json",
    log:
        f"{ROOT}/logs/sweep_tune/{{model}}-{{method}}-{{variant}}.log",
    params:
        torch_threads=config["threads"],
        model=model_spec,
        settings=tuning_settings,
        train=train_answers_option,
        budget="",
        caps=caps(),
        seed=config["seed"],


rule sweep_table:
    input:
        lambda wc: collect(
            f"{ROOT}/sweep/{wc.model}/{wc.method}/{{variant}}/setting.json",
            variant=range(len(SWEPT[wc.method])),
        ),
    output:
        f"{ROOT}/sweep/{{model}}-{{method}}.csv",
    log:
        f"{ROOT}/logs/sweep_table/{{model}}-{{method}}.log",
    conda:
        "../../environment.yml"
    params:
        variants=lambda wc: as_json(SWEPT[wc.method]),
    shell:
        "python -m harness sweep-table --variants {params.variants:q} --settings {input}"
        " --out {output} 2>&1 | (tee {log} || true)"
