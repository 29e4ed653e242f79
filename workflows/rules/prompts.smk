# Frozen prompts, and the target's own answers to the train and tune splits.


rule first_turns:
    input:
        data=split_input,
        model=model_files,
    output:
        f"{ROOT}/prompts/{{model}}/first_turns/{{dataset}}-{{split}}.json",
    log:
        f"{ROOT}/logs/first_turns/{{model}}-{{dataset}}-{{split}}.log",
    conda:
        "../../environment.yml"
    threads: workflow.cores
    resources:
        gpu=GPUS,
    params:
        torch_threads=config["threads"],
        model=model_spec,
        split=split_spec,
        cap=lambda wc: config["datasets"][wc.dataset]["max_new_tokens"],
    shell:
        "python -m harness --threads {params.torch_threads} first-turns --model {params.model:q} --split {params.split:q}"
        " --cap {params.cap} --out {output} > {log} 2>&1"


rule freeze_prompts:
    input:
        data=split_input,
        model=model_files,
        first_turns=first_turns,
    output:
        prompts=f"{ROOT}/prompts/{{model}}/{{split}}/{{dataset}}.jsonl",
        dropped=f"{ROOT}/prompts/{{model}}/{{split}}/{{dataset}}.dropped.json",
    log:
        f"{ROOT}/logs/freeze/{{model}}-{{dataset}}-{{split}}.log",
    conda:
        "../../environment.yml"
    params:
        model=model_spec,
        split=split_spec,
        first=lambda wc, input: f"--first-turns {input.first_turns}" if input.first_turns else "",
    shell:
        "python -m harness freeze --model {params.model:q} --split {params.split:q} {params.first}"
        " --out {output.prompts} > {log} 2>&1"


use rule freeze_prompts as freeze_test_prompts with:
    input:
        data=lambda wc: split_input(test_wildcards(wc)),
        model=model_files,
        first_turns=lambda wc: first_turns(test_wildcards(wc)),
    output:
        prompts=f"{ROOT}/prompts/{{model}}/{{dataset}}.jsonl",
        dropped=f"{ROOT}/prompts/{{model}}/{{dataset}}.dropped.json",
    log:
        f"{ROOT}/logs/freeze/{{model}}-{{dataset}}-test.log",
    params:
        model=model_spec,
        split=lambda wc: split_spec(test_wildcards(wc)),
        first=lambda wc, input: f"--first-turns {input.first_turns}" if input.first_turns else "",


rule answer:
    input:
        prompts=split_prompts,
        model=model_files,
    output:
        f"{ROOT}/answers/{{model}}/{{split}}.jsonl",
    log:
        f"{ROOT}/logs/answer/{{model}}-{{split}}.log",
    conda:
        "../../environment.yml"
    threads: workflow.cores
    resources:
        gpu=GPUS,
    params:
        torch_threads=config["threads"],
        model=model_spec,
        caps=caps(),
    shell:
        "python -m harness --threads {params.torch_threads} answer --model {params.model:q} --prompts {input.prompts}"
        " --caps {params.caps:q} --out {output} 2>&1 | (tee {log} || true)"
