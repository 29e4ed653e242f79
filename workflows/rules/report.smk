# Rows -> tables -> figures -> PDFs: pure functions of files, cheap, and made again when their code changes.

# Modules of the analysis and the data sets: a change of one makes the tables anew.
ANALYSIS = sorted([*Path("harness/analysis").glob("*.py"), *Path("harness/datasets").glob("*.py")])
ANALYSIS.append(Path("harness/experiment/folder.py"))
PRESENTATION = sorted(Path("harness/presentation").glob("*.py"))
STUDIES = sorted(Path("workflows/resources/studies").glob("*.csv"))
TABLES = [FOLDER.table(name) for name in SESSIONS.tables]


rule tables:
    input:
        rows=FOLDER.row_files(SESSIONS.outline),
        prompts=[FOLDER.prompts(model, name) for model in MODELS for name in DATASETS],
        curves=[FOLDER.curve(model) for model in MODELS if CURVE.methods],
        prepared=[file for model in MODELS for file in ARMS.prepared_files(model)],
        profiles=[FOLDER.profile(model) for model in MODELS],
        costs=[FOLDER.cost(model) for model in MODELS],
        uncut=[FOLDER.uncut(model) for model in MODELS if QUESTIONS.having("uncut")],
        code=[*ANALYSIS, "harness/measure/step_cost.py"],
    output:
        TABLES,
        facts=FOLDER.facts,
    log:
        FOLDER.log("tables"),
    conda:
        "../../environment.yml"
    params:
        experiment=as_json(SESSIONS.outline),
        root=lambda wc, output: Path(output[0]).parents[1],
    shell:
        "python -m harness tables --experiment {params.experiment:q} --root {params.root:q} 2>&1 | (tee {log} || true)"


rule figures:
    input:
        TABLES,
        examined=[file for model in MODELS for file in ARMS.examined_files(model)],
        coverage="workflows/resources/coverage.csv",
        studies=STUDIES,
        code=PRESENTATION,
    output:
        FOLDER.drawn,
    log:
        FOLDER.log("figures"),
    conda:
        "../../environment.yml"
    params:
        root=lambda wc, output: Path(output[0]).parents[1],
    shell:
        "python -m harness figures --root {params.root:q} > {log} 2>&1"


rule report:
    input:
        TABLES,
        FOLDER.facts,
        FOLDER.drawn,
        template="workflows/report.typ",
        published="workflows/resources/published.csv",
        ranking="workflows/resources/ranking.csv",
        examined=[file for model in MODELS for file in ARMS.examined_files(model)],
        studies=STUDIES,
        code=PRESENTATION,
    output:
        FOLDER.report("{name}"),
    log:
        FOLDER.log("report", "{name}"),
    conda:
        "../../environment.yml"
    params:
        root=lambda wc, output: Path(output[0]).parents[1],
    shell:
        "python -m harness report --root {params.root:q} --name {wildcards.name} --out {output} > {log} 2>&1"


# Of the configured experiment, as the PDFs beside it.
rule page:
    input:
        TABLES,
        FOLDER.facts,
        FOLDER.drawn,
        template="workflows/page.html.jinja",
        code=PRESENTATION,
    output:
        report("reports/index.html", category="Reports", labels={"report": "index"}),
    log:
        FOLDER.log("page"),
    conda:
        "../../environment.yml"
    params:
        root=lambda wc, input: Path(input[0]).parents[1],
    shell:
        "python -m harness page --root {params.root:q} --out {output} > {log} 2>&1"


# reports/<name>.pdf is the copy for the configured experiment, which its page 1 names.
rule publish:
    input:
        FOLDER.report("{name}"),
    output:
        report("reports/{name}.pdf", category="Reports", labels={"report": "{name}"}),
    log:
        FOLDER.log("publish", "{name}"),
    conda:
        "../../environment.yml"
    shell:
        "(cp {input} {output}.tmp && mv {output}.tmp {output}) 2> {log}"
