# FIRP beside other decoding methods, from frozen prompts through timed sessions to PDFs.
#
#   snakemake --cores 1 all                      every table, figure and PDF of the experiment
#   snakemake reports/mtbench.pdf                one PDF
#   snakemake --cores 1 all --configfile workflows/config/smoke.yaml
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger
from snakemake.utils import min_version

from harness.environment import unfit
from harness.presentation.jobs import held_by_another, remove_others, speak_in_words

min_version("9.17")

# Where Snakemake makes the environment of each job itself, it need not be the one that runs it.
if not workflow.deployment_settings.deployment_method and (reason := unfit()):
    raise WorkflowError(reason)


# --configfile is merged into what is loaded, so mini is loaded only when nothing else is.
if not {"experiment", "extends"} & config.keys():
    if workflow.configfiles:
        raise WorkflowError(
            f"{workflow.configfiles[0]}: neither experiment nor extends, expected one; a change of mini "
            "begins with 'extends: mini'"
        )

    configfile: "workflows/config/mini.yaml"


include: "workflows/rules/common.smk"
include: "workflows/rules/target.smk"
include: "workflows/rules/prompts.smk"
include: "workflows/rules/methods.smk"
include: "workflows/rules/measure.smk"
include: "workflows/rules/report.smk"
include: "workflows/rules/sweep.smk"
include: "workflows/rules/engine.smk"


# With its limit of jobs per second, Snakemake plans anew every second, and once more in that second for
# every job that has finished: late in a run a tenth of a core, taken from what is being timed.
onstart:
    workflow.scheduler.job_rate_limiter = None
    speak_in_words(logger)
    if line := held_by_another(Path("reports"), EXPERIMENT.experiment):
        logger.info(line)


# The main tables, and where the reports are.
onsuccess:
    remove_others(Path("reports"), EXPERIMENT.experiment, REPORTS)
    if SUMMARY.is_file():
        shell("python -m harness summary --root {ROOT}")


# Seconds of work: on a cluster these run where snakemake does.
localrules:
    all,
    check_methods,
    check_sweeps,
    stand_in,
    fetch_gguf,
    take_parts,
    share_parts,
    parts,
    collect_parts,
    tables,
    figures,
    report,
    publish,
    page,
    sweep,
    sweep_table,
    engine,
    predict_speedups,


rule all:
    default_target: True
    input:
        collect("reports/{name}.pdf", name=REPORTS),
        "reports/index.html",
