# Timed sessions: each holds one target and all arms. Nothing else runs beside one.
PROFILED = len(DATASETS)  # prompts that are decoded with a clock around each phase


rule session:
    input:
        prompts=f"{ROOT}/prompts/{{model}}/{{dataset}}.jsonl",
        warmup=f"{ROOT}/prompts/{{model}}/tune/{{dataset}}.jsonl",
        methods=method_results,
        checked=f"{ROOT}/checked.json",
        model=model_files,
    output:
        rows=f"{ROOT}/{RUN}.jsonl",
        provenance=f"{ROOT}/{RUN}.provenance.json",
    log:
        f"{ROOT}/logs/session/{{model}}-{{dataset}}-{{session}}{'-{shard}' if SHARDED else ''}.log",
    priority: sessions_first
    conda:
        "../../environment.yml"
    threads: workflow.cores
    resources:
        gpu=GPUS,
        slurm_extra=ALONE,
    params:
        torch_threads=config["threads"],
        model=model_spec,
        methods=all_methods,
        options=session_options,
        folders=f"{ROOT}/methods/{{model}}",
    shell:
        "python -m harness --threads {params.torch_threads} session --model {params.model:q} --methods {params.methods:q}"
        " --options {params.options:q} --prompts {input.prompts} --warmup {input.warmup}"
        " --folders {params.folders:q} --out {output.rows} 2>&1 | (tee {log} || true)"


# Clocks inside steps cost time, so that this is a pass of its own, on tune prompts.
rule profile:
    input:
        prompts=tune_prompts,
        methods=method_results,
        model=model_files,
    output:
        f"{ROOT}/profile/{{model}}.csv",
    log:
        f"{ROOT}/logs/profile/{{model}}.log",
    conda:
        "../../environment.yml"
    threads: workflow.cores
    resources:
        gpu=GPUS,
        slurm_extra=ALONE,
    params:
        torch_threads=config["threads"],
        model=model_spec,
        methods=all_methods,
        caps=caps(),
        profiled=PROFILED,
        folders=f"{ROOT}/methods/{{model}}",
    shell:
        "python -m harness --threads {params.torch_threads} profile --model {params.model:q} --methods {params.methods:q}"
        " --prompts {input.prompts} --caps {params.caps:q} --count {params.profiled}"
        " --folders {params.folders:q} --out {output} 2>&1 | (tee {log} || true)"


# What a forward costs is the target's alone: no method's setting repeats it.
rule cost:
    input:
        prompts=tune_prompts,
        model=model_files,
    output:
        f"{ROOT}/cost/{{model}}.csv",
    log:
        f"{ROOT}/logs/cost/{{model}}.log",
    conda:
        "../../environment.yml"
    threads: workflow.cores
    resources:
        gpu=GPUS,
        slurm_extra=ALONE,
    params:
        torch_threads=config["threads"],
        model=model_spec,
        caps=caps(),
    shell:
        "python -m harness --threads {params.torch_threads} cost --model {params.model:q} --prompts {input.prompts}"
        " --caps {params.caps:q} --out {output} 2>&1 | (tee {log} || true)"
