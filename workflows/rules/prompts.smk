# Frozen prompts, and the target's own answers to the train and tune splits.
from harness.experiment.config import SPLITS

# One process a model and split, for all data sets that have it: loading takes longer than freezing.
for split in filter(QUESTIONS.having, SPLITS):

    rule:
        name:
            "freeze_prompts" if split == "test" else f"freeze_{split}_prompts"
        input:
            data=QUESTIONS.frozen_from(split),
            model=lambda wc: TARGETS.files(wc.model),
        output:
            QUESTIONS.frozen("{model}", split),
        log:
            FOLDER.log("freeze", "{model}-" + split),
        conda:
            "../../environment.yml"
        threads: workflow.cores
        resources:
            gpu=GPUS if QUESTIONS.several_turns else 0,
        params:
            torch_threads=EXPERIMENT.threads,
            model=lambda wc: TARGETS.answers_json(wc.model),
            splits=lambda wc, split=split: QUESTIONS.freeze_json(wc.model, split),
        shell:
            "python -m harness --threads {params.torch_threads} freeze --model {params.model:q}"
            " --splits {params.splits:q} 2>&1 | (tee {log} || true)"


if QUESTIONS.having("uncut"):

    # Nothing is timed: answers are made in batches, up to the caps under `uncut`, so that whole ones are scored.
    rule answer_uncut:
        input:
            prompts=lambda wc: QUESTIONS.prompts(wc.model, "uncut"),
            model=lambda wc: TARGETS.files(wc.model),
        output:
            FOLDER.uncut("{model}"),
        log:
            FOLDER.log("answer_uncut", "{model}"),
        conda:
            "../../environment.yml"
        threads: workflow.cores
        resources:
            gpu=GPUS,
        params:
            torch_threads=EXPERIMENT.threads,
            model=lambda wc: TARGETS.answers_json(wc.model),
            caps=QUESTIONS.uncut_caps_json,
        shell:
            "python -m harness --threads {params.torch_threads} uncut --model {params.model:q}"
            " --prompts {input.prompts} --caps {params.caps:q} --out {output} 2>&1 | (tee {log} || true)"


rule answer:
    input:
        prompts=lambda wc: QUESTIONS.prompts(wc.model, wc.split),
        first_turns=lambda wc: QUESTIONS.first_turns(wc.model, wc.split),
        model=lambda wc: TARGETS.files(wc.model),
    output:
        FOLDER.answers("{model}", "{split}"),
    log:
        FOLDER.log("answer", "{model}-{split}"),
    conda:
        "../../environment.yml"
    threads: workflow.cores
    resources:
        gpu=GPUS,
    params:
        torch_threads=EXPERIMENT.threads,
        model=lambda wc: TARGETS.answers_json(wc.model),
        caps=QUESTIONS.caps_json,
        first=lambda wc, input: f"--first-turns {input.first_turns}" if input.first_turns else "",
    shell:
        "python -m harness --threads {params.torch_threads} answer --model {params.model:q} --prompts {input.prompts}"
        " {params.first} --caps {params.caps:q} --out {output} 2>&1 | (tee {log} || true)"
