# Targets that the project makes itself.


rule stand_in:
    output:
        f"{ROOT}/stand_ins/{{dataset}}/{{split}}.jsonl",
    params:
        records=lambda wc: config["datasets"][wc.dataset]["stand_in"][wc.split],
        seed=config["seed"],
    log:
        f"{ROOT}/logs/stand_in/{{dataset}}-{{split}}.log",
    conda:
        "../../environment.yml"
    shell:
        HARNESS + " stand-in --dataset {wildcards.dataset} --split {wildcards.split}"
        " --count {params.records} --seed {params.seed} --out {output} > {log} 2>&1"


# Never part of `all`: mini's weights are shipped. `target: rebuild` in the config chooses these.
rule rebuild_mini_target:
    output:
        "results/rebuilt-mini-target/config.json",
    params:
        seed=config["seed"],
    threads: workflow.cores
    log:
        "results/rebuilt-mini-target/rebuild.log",
    conda:
        "../../environment.yml"
    shell:
        HARNESS + " rebuild-mini-target --seed {params.seed} --out $(dirname {output})"
        " 2>&1 | tee {log}"


rule pretrain_target:
    output:
        f"{ROOT}/targets/{{model}}/config.json",
    params:
        recipe=lambda wc: as_json(config["models"][wc.model]["pretrain"]),
    threads: workflow.cores
    log:
        f"{ROOT}/logs/pretrain/{{model}}.log",
    conda:
        "../../environment.yml"
    shell:
        HARNESS + " pretrain --recipe {params.recipe:q} --out $(dirname {output}) 2>&1 | tee {log}"
