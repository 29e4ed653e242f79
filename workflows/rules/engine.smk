# The engine itself, by shapes with random weights and by models; a target of its own, not in `all`.
ENGINE = EXPERIMENT.engine


rule engine:
    input:
        collect(FOLDER.engine("{bench}", "engine.json"), bench=BENCHED),
        collect(
            FOLDER.engine("{bench}", "predicted.csv"), bench=BENCHED if ENGINE.acceptance else []
        ),


rule bench_engine:
    input:
        model=lambda wc: TARGETS.benched_files(wc.bench),
    output:
        measured=FOLDER.engine("{bench}", "engine.json"),
        forwards=FOLDER.engine("{bench}", "forwards.csv"),
        steps=FOLDER.engine("{bench}", "steps.csv"),
        figure=FOLDER.engine("{bench}", "engine.svg"),
        text=FOLDER.engine("{bench}", "engine.md"),
    log:
        FOLDER.log("engine", "{bench}"),
    conda:
        "../../environment.yml"
    threads: workflow.cores
    resources:
        gpu=GPUS,
        slurm_extra=ALONE,
    params:
        torch_threads=EXPERIMENT.threads,
        subject=lambda wc: TARGETS.benched_as(wc.bench),
        where=["--dtype", EXPERIMENT.dtype, "--device", EXPERIMENT.device],
        grid=TARGETS.bench_grid,
    shell:
        "python -m harness --threads {params.torch_threads} engine {params.subject:q} {params.where:q} {params.grid:q}"
        " --out $(dirname {output.measured}) 2>&1 | (tee {log} || true)"


# Acceptance from elsewhere times costs measured here: a prediction, and marked so.
rule predict_speedups:
    input:
        measured=FOLDER.engine("{bench}", "engine.json"),
        acceptance=ENGINE.acceptance,
        code=expand(
            "harness/{part}.py",
            part=[
                "commands/predict",
                "enginebench/predicted",
                "enginebench/show",
                "measure/step_cost",
            ],
        ),
    output:
        table=FOLDER.engine("{bench}", "predicted.csv"),
        text=FOLDER.engine("{bench}", "predicted.md"),
    log:
        FOLDER.log("engine", "{bench}-predicted"),
    conda:
        "../../environment.yml"
    shell:
        "python -m harness predict --measured {input.measured} --acceptance {input.acceptance:q}"
        " --out {output.table} 2>&1 | (tee {log} || true)"
