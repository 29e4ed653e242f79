# Targets and generated questions that the project makes itself.


rule stand_in:
    output:
        FOLDER.stand_in("{dataset}", "{split}"),
    log:
        FOLDER.log("stand_in", "{dataset}-{split}"),
    conda:
        "../../environment.yml"
    params:
        records=lambda wc: QUESTIONS.records(wc.dataset, wc.split),
        seed=EXPERIMENT.seed,
    shell:
        "python -m harness stand-in --dataset {wildcards.dataset} --split {wildcards.split}"
        " --count {params.records} --seed {params.seed} --out {output} > {log} 2>&1"


# mini's weights are shipped: this is part of `all` only under `target: rebuild` in the config.
rule rebuild_mini_target:
    output:
        f"{REBUILT}/record.json",
    log:
        f"{REBUILT}/rebuild.log",
    conda:
        "../../environment.yml"
    threads: workflow.cores
    params:
        torch_threads=EXPERIMENT.threads,
        seed=EXPERIMENT.seed,
    shell:
        "python -m harness --threads {params.torch_threads} rebuild-mini-target --seed {params.seed} --out $(dirname {output})"
        " 2>&1 | (tee {log} || true)"


rule pretrain_target:
    input:
        data=lambda wc: TARGETS.pretrain_sources(wc.model),
    output:
        FOLDER.target("{model}") / "record.json",
    log:
        FOLDER.log("pretrain", "{model}"),
    conda:
        "../../environment.yml"
    threads: workflow.cores
    params:
        torch_threads=EXPERIMENT.threads,
        recipe=lambda wc: as_json(EXPERIMENT.models[wc.model].pretrain),
    shell:
        "python -m harness --threads {params.torch_threads} pretrain --recipe {params.recipe:q} --out $(dirname {output}) 2>&1 | (tee {log} || true)"


# For all experiments that name the same file.
rule fetch_gguf:
    input:
        lambda wc: TARGETS.gguf(wc.gguf).path or [],
    output:
        DEQUANTISED / "{gguf}" / "record.json",
    log:
        DEQUANTISED / "{gguf}.log",
    conda:
        "../../environment.yml"
    params:
        source=lambda wc: as_json(TARGETS.gguf(wc.gguf).given),
    shell:
        "python -m harness fetch-gguf --source {params.source:q} --out $(dirname {output})"
        " 2>&1 | (tee {log} || true)"
