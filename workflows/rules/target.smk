# Targets that the project makes itself.


rule stand_in:
    output:
        f"{ROOT}/stand_ins/{{dataset}}/{{split}}.jsonl",
    log:
        f"{ROOT}/logs/stand_in/{{dataset}}-{{split}}.log",
    conda:
        "../../environment.yml"
    params:
        records=lambda wc: config["datasets"][wc.dataset]["stand_in"][wc.split],
        seed=config["seed"],
    shell:
        "python -m harness stand-in --dataset {wildcards.dataset} --split {wildcards.split}"
        " --count {params.records} --seed {params.seed} --out {output} > {log} 2>&1"


# mini's weights are shipped: this is part of `all` only under `target: rebuild` in the config.
rule rebuild_mini_target:
    output:
        "results/rebuilt-mini-target/record.json",
    log:
        "results/rebuilt-mini-target/rebuild.log",
    conda:
        "../../environment.yml"
    threads: workflow.cores
    params:
        torch_threads=config["threads"],
        seed=config["seed"],
    shell:
        "python -m harness --threads {params.torch_threads} rebuild-mini-target --seed {params.seed} --out $(dirname {output})"
        " 2>&1 | (tee {log} || true)"


rule pretrain_target:
    input:
        data=pretrain_sources,
    output:
        f"{ROOT}/targets/{{model}}/record.json",
    log:
        f"{ROOT}/logs/pretrain/{{model}}.log",
    conda:
        "../../environment.yml"
    threads: workflow.cores
    params:
        torch_threads=config["threads"],
        recipe=lambda wc: as_json(config["models"][wc.model]["pretrain"]),
    shell:
        "python -m harness --threads {params.torch_threads} pretrain --recipe {params.recipe:q} --out $(dirname {output}) 2>&1 | (tee {log} || true)"


# For all experiments that name the same file.
rule fetch_gguf:
    input:
        gguf_file,
    output:
        "results/targets/{gguf}/record.json",
    log:
        "results/targets/{gguf}.log",
    conda:
        "../../environment.yml"
    params:
        source=gguf_source,
    shell:
        "python -m harness fetch-gguf --source {params.source:q} --out $(dirname {output})"
        " 2>&1 | (tee {log} || true)"
