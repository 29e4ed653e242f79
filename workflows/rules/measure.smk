# Timed sessions: each holds one target and all arms. Nothing else runs beside one.
from harness.experiment.folder import provenance_of

RUN = FOLDER.rows("{model}", "{dataset}", "{session}", "{shard}" if SHARDED else None)
PROFILED = len(DATASETS)  # prompts that are decoded with a clock around each phase


rule session:
    input:
        prompts=FOLDER.prompts("{model}", "{dataset}"),
        warmup=FOLDER.prompts("{model}", "{dataset}", "tune"),
        methods=lambda wc: ARMS.prepared_files(wc.model),
        checked=FOLDER.checked("{model}"),
        model=lambda wc: TARGETS.files(wc.model),
    output:
        rows=RUN,
        provenance=provenance_of(RUN),
    log:
        FOLDER.log("session", "{model}-{dataset}-{session}" + ("-{shard}" if SHARDED else "")),
    priority: lambda wc: EXPERIMENT.sessions - int(wc.session)
    conda:
        "../../environment.yml"
    threads: workflow.cores
    resources:
        gpu=GPUS,
        slurm_extra=ALONE,
    params:
        torch_threads=EXPERIMENT.threads,
        model=lambda wc: TARGETS.load_json(wc.model),
        methods=lambda wc: ARMS.json(wc.model),
        options=lambda wc: SESSIONS.json(
            SESSIONS.labels(wc.model, wc.dataset, wc.session, wc.get("shard"))
        ),
        folders=str(FOLDER.methods("{model}")),
    shell:
        "python -m harness --threads {params.torch_threads} session --model {params.model:q} --methods {params.methods:q}"
        " --options {params.options:q} --prompts {input.prompts} --warmup {input.warmup}"
        " --folders {params.folders:q} --out {output.rows} 2>&1 | (tee {log} || true)"


# Clocks inside steps cost time, so that this is a pass of its own, on tune prompts.
rule profile:
    input:
        prompts=lambda wc: QUESTIONS.prompts(wc.model, "tune"),
        methods=lambda wc: ARMS.prepared_files(wc.model),
        model=lambda wc: TARGETS.files(wc.model),
    output:
        FOLDER.profile("{model}"),
    log:
        FOLDER.log("profile", "{model}"),
    conda:
        "../../environment.yml"
    threads: workflow.cores
    resources:
        gpu=GPUS,
        slurm_extra=ALONE,
    params:
        torch_threads=EXPERIMENT.threads,
        model=lambda wc: TARGETS.load_json(wc.model),
        methods=lambda wc: ARMS.json(wc.model),
        caps=QUESTIONS.caps_json,
        sampling=SESSIONS.sampling_option,
        profiled=PROFILED,
        folders=str(FOLDER.methods("{model}")),
    shell:
        "python -m harness --threads {params.torch_threads} profile --model {params.model:q} --methods {params.methods:q}"
        " --prompts {input.prompts} --caps {params.caps:q} --count {params.profiled} {params.sampling}"
        " --folders {params.folders:q} --out {output} 2>&1 | (tee {log} || true)"


# What a forward costs is the target's alone: no method's setting repeats it.
rule cost:
    input:
        prompts=lambda wc: QUESTIONS.prompts(wc.model, "tune"),
        model=lambda wc: TARGETS.files(wc.model),
    output:
        FOLDER.cost("{model}"),
    log:
        FOLDER.log("cost", "{model}"),
    conda:
        "../../environment.yml"
    threads: workflow.cores
    resources:
        gpu=GPUS,
        slurm_extra=ALONE,
    params:
        torch_threads=EXPERIMENT.threads,
        model=lambda wc: TARGETS.load_json(wc.model),
        caps=QUESTIONS.caps_json,
    shell:
        "python -m harness --threads {params.torch_threads} cost --model {params.model:q} --prompts {input.prompts}"
        " --caps {params.caps:q} --out {output} 2>&1 | (tee {log} || true)"
