# Timed sessions: each holds one target and all arms. Nothing else runs beside one.


rule session:
    input:
        prompts=f"{ROOT}/prompts/{{model}}/{{dataset}}.jsonl",
        warmup=f"{ROOT}/prompts/{{model}}/tune/{{dataset}}.jsonl",
        methods=method_results,
        model=model_files,
    output:
        rows=f"{ROOT}/runs/{{model}}/{{dataset}}/session-{{session}}.jsonl",
        provenance=f"{ROOT}/runs/{{model}}/{{dataset}}/session-{{session}}.provenance.json",
    params:
        model=model_spec,
        methods=all_methods(),
        options=session_options,
        folders=f"{ROOT}/methods/{{model}}",
    priority: sessions_first
    threads: workflow.cores
    resources:
        gpu=1,
    log:
        f"{ROOT}/logs/session/{{model}}-{{dataset}}-{{session}}.log",
    conda:
        "../../environment.yml"
    shell:
        HARNESS + " session --model {params.model:q} --methods {params.methods:q}"
        " --options {params.options:q} --prompts {input.prompts} --warmup {input.warmup}"
        " --folders {params.folders} --out {output.rows} 2>&1 | tee {log}"
