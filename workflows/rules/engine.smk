# The engine itself, by shapes with random weights and by models; a target of its own, not in `all`.
ENGINE = config["engine"]


rule engine:
    input:
        collect(f"{ROOT}/engine/{{bench}}/engine.json", bench=BENCHED),
        collect(
            f"{ROOT}/engine/{{bench}}/predicted.csv", bench=BENCHED if ENGINE["acceptance"] else []
        ),


rule bench_engine:
    input:
        model=engine_files,
    output:
        measured=f"{ROOT}/engine/{{bench}}/engine.json",
        forwards=f"{ROOT}/engine/{{bench}}/forwards.csv",
        steps=f"{ROOT}/engine/{{bench}}/steps.csv",
        figure=f"{ROOT}/engine/{{bench}}/engine.svg",
        text=f"{ROOT}/engine/{{bench}}/engine.md",
    log:
        f"{ROOT}/logs/engine/{{bench}}.log",
    conda:
        "../../environment.yml"
    threads: workflow.cores
    resources:
        gpu=GPUS,
        slurm_extra=ALONE,
    params:
        torch_threads=config["threads"],
        subject=engine_subject,
        where=["--dtype", config["dtype"], "--device", config["device"]],
        grid=engine_grid(),
    shell:
        "python -m harness --threads {params.torch_threads} engine {params.subject:q} {params.where:q} {params.grid:q}"
        " --out $(dirname {output.measured}) 2>&1 | (tee {log} || true)"


# Acceptance from elsewhere times costs measured here: a prediction, and marked so.
rule predict_speedups:
    input:
        measured=f"{ROOT}/engine/{{bench}}/engine.json",
        acceptance=ENGINE["acceptance"],
        code=expand(
            "harness/{part}.py",
            part=[
                "enginebench/predicted",
                "enginebench/show",
                "analysis/cost",
                "analysis/best_size",
            ],
        ),
    output:
        table=f"{ROOT}/engine/{{bench}}/predicted.csv",
        text=f"{ROOT}/engine/{{bench}}/predicted.md",
    log:
        f"{ROOT}/logs/engine/{{bench}}-predicted.log",
    conda:
        "../../environment.yml"
    shell:
        "python -m harness predict --measured {input.measured} --acceptance {input.acceptance:q}"
        " --out {output.table} 2>&1 | (tee {log} || true)"
