# Rows -> tables -> figures -> PDFs: pure functions of files, cheap, and re-run when their code is.

ANALYSIS = [
    f"harness/analysis/{name}.py"
    for name in (
        "rows",
        "statistics",
        "quality",
        "preparation",
        "draft_sizes",
        "definitions",
        "phases",
        "categories",
        "again",
        "ranking",
        "summary",
        "divergences",
        "acceptance",
        "detectable",
        "cost",
        "best_size",
        "twins",
        "facts",
        "fairness",
        "tables",
    )
] + [f"{module.replace('.', '/')}.py" for module in QUESTION_SETS.values()]
FIGURES = [
    f"harness/presentation/{name}.py"
    for name in ("wording", "style", "speed_figures", "draft_figures", "figures")
]
PRESENTATION = [
    *FIGURES,
    *(
        f"harness/presentation/{name}.py"
        for name in ("used", "explain", "findings", "main_table", "verdicts", "report", "page")
    ),
]
TABLES = collect(
    f"{ROOT}/tables/{{table}}.csv",
    table=[
        *("speedup", "acceptance_length", "draft_size", "rouge2", "summary", "preparation"),
        *(
            "pairs",
            "categories",
            "divergences",
            "question_speedup",
            "acceptance_by_depth",
            "acceptance_by_node",
        ),
        *("definitions", "phases", "detectable", "cost", "cost_model"),
        *(["draft_size_curve", "draft_size_reach", "best_draft_size"] if CURVE["methods"] else []),
    ],
)


rule tables:
    input:
        rows=collect(
            f"{ROOT}/{RUN}.jsonl",
            model=MODELS,
            dataset=DATASETS,
            session=SESSIONS,
            shard=SHARDS,
        ),
        prompts=collect(
            f"{ROOT}/prompts/{{model}}/{{dataset}}.jsonl", model=MODELS, dataset=DATASETS
        ),
        curves=collect(f"{ROOT}/curve/{{model}}.csv", model=MODELS if CURVE["methods"] else []),
        prepared=lambda wc: [file for model in MODELS for file in prepared_files(model)],
        profiles=collect(f"{ROOT}/profile/{{model}}.csv", model=MODELS),
        costs=collect(f"{ROOT}/cost/{{model}}.csv", model=MODELS),
        code=[*ANALYSIS, "harness/measure/step_cost.py"],
    output:
        TABLES,
        facts=f"{ROOT}/tables/facts.json",
    log:
        f"{ROOT}/logs/tables.log",
    conda:
        "../../environment.yml"
    params:
        experiment=experiment_facts(),
        root=results_root,
    shell:
        "python -m harness tables --experiment {params.experiment:q} --root {params.root:q} 2>&1 | (tee {log} || true)"


rule figures:
    input:
        TABLES,
        coverage="workflows/resources/coverage.csv",
        code=FIGURES,
    output:
        f"{ROOT}/figures/done.json",
    log:
        f"{ROOT}/logs/figures.log",
    conda:
        "../../environment.yml"
    params:
        root=results_root,
    shell:
        "python -m harness figures --root {params.root:q} > {log} 2>&1"


rule report:
    input:
        TABLES,
        f"{ROOT}/tables/facts.json",
        f"{ROOT}/figures/done.json",
        template="workflows/report.typ",
        published="workflows/resources/published.csv",
        ranking="workflows/resources/ranking.csv",
        code=PRESENTATION,
    output:
        f"{ROOT}/report/{{name}}.pdf",
    log:
        f"{ROOT}/logs/report/{{name}}.log",
    conda:
        "../../environment.yml"
    params:
        root=results_root,
    shell:
        "python -m harness report --root {params.root:q} --name {wildcards.name} --out {output} > {log} 2>&1"


# Of the configured experiment, as the PDFs beside it.
rule page:
    input:
        TABLES,
        f"{ROOT}/tables/facts.json",
        f"{ROOT}/figures/done.json",
        template="workflows/page.html.jinja",
        code=PRESENTATION,
    output:
        report("reports/index.html", category="Reports", labels={"report": "index"}),
    log:
        f"{ROOT}/logs/page.log",
    conda:
        "../../environment.yml"
    params:
        root=results_root_of_tables,
    shell:
        "python -m harness page --root {params.root:q} --out {output} > {log} 2>&1"


# reports/<name>.pdf is the copy for the configured experiment, which its page 1 names.
rule publish:
    input:
        f"{ROOT}/report/{{name}}.pdf",
    output:
        report("reports/{name}.pdf", category="Reports", labels={"report": "{name}"}),
    log:
        f"{ROOT}/logs/publish/{{name}}.log",
    conda:
        "../../environment.yml"
    shell:
        "(cp {input} {output}.tmp && mv {output}.tmp {output}) 2> {log}"
