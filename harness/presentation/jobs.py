"""Lines in the terminal on the workflow's jobs: each in words, its seconds, and the progress.

Snakemake's own lines (inputs, outputs, reasons) stay in its log file and in dry runs.
"""

import logging
import re
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from harness.datasets import DATASETS

HANDLER = "DefaultStreamHandler"  # Snakemake's name of the handler that writes to the terminal
WORDS = {
    "check_methods": "checking every method's settings, {model}",
    "check_sweeps": "checking the settings of sweeps, {model}",
    "stand_in": "generating {dataset}, {split} split",
    "rebuild_mini_target": "training the target of mini",
    "fetch_gguf": "making a target of a GGUF file",
    "pretrain_target": "training the target {model}",
    "freeze_prompts": "freezing the test prompts for {model}",
    "freeze_tune_prompts": "freezing the tune prompts for {model}",
    "freeze_train_prompts": "freezing the train prompts for {model}",
    "answer": "answers of {model} to the {split} split",
    "freeze_uncut_prompts": "freezing questions for whole answers of {model}",
    "answer_uncut": "whole answers of {model}, for their quality",
    "take_parts": "taking the ready-made parts for {model}",
    "share_parts": "giving {method} the parts that it uses, {model}",
    "collect_parts": "collecting the parts of {model}",
    "train_method": "training {method} for {model}",
    "tune_method": "choosing the setting of {method} for {model}",
    "examine_method": "what the training of {method} gave, {model}",
    "examine_pseudo_states": "what the training of {method} gave, and its states, {model}",
    "check_trees": "tree attention against plain forwards, {model}",
    "sweep_train": "training variant {variant} of {method} for {model}",
    "sweep_tune": "choosing the setting of variant {variant} of {method} for {model}",
    "sweep_table": "table of the sweep of {method}",
    "draft_size_curve": "acceptance by draft size, {model}",
    "cost": "timing forwards of {model}",
    "profile": "timing the phases of each method's steps, {model}",
    "session": "session {session}: all methods on {dataset}, {model}",
    "tables": "tables",
    "figures": "figures",
    "page": "reports/index.html",
    "report": "report on {name}",
    "publish": "reports/{name}.pdf",
    "bench_engine": "timing the engine, {bench}",
    "predict_speedups": "predicting speedups, {bench}",
}
_NOISE = ("Select jobs to execute", "Execute ", "Complete log(s): ")


def in_words(rule: str, wildcards: Mapping[str, str]) -> str:
    """A job in words, or by its rule's name if WORDS does not have the rule."""
    return WORDS.get(rule, rule.replace("_", " ")).format_map(wildcards)


class JobLines(logging.Formatter):
    """Filters and formats Snakemake's events on jobs; all else is formatted as before.

    A job gets a line in words when it begins, and one with seconds and progress when it has ended.
    """

    def __init__(self, otherwise: logging.Formatter | None) -> None:
        super().__init__()
        self._otherwise = otherwise or logging.Formatter()
        self._begun: dict[int, tuple[str, float]] = {}
        self._ended = ""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the event gets a line; a finished job gets that of the progress instead."""
        if _event(record) == "job_finished":
            words, begun = self._begun.pop(vars(record)["job_id"])
            self._ended = f"{words}, {time.monotonic() - begun:.0f} s"
            return False
        return not str(record.msg or "").startswith(_NOISE)

    def format(self, record: logging.LogRecord) -> str:
        """The line for an event."""
        fields = vars(record)
        if _event(record) == "job_info":
            words = in_words(fields["rule_name"], fields["wildcards"] or {})
            self._begun[fields["jobid"]] = words, time.monotonic()
            return words
        if _event(record) == "progress":
            return f"[{fields['done']} of {fields['total']}] {self._ended}"
        return self._otherwise.format(record)


def _event(record: logging.LogRecord) -> str:
    """The name of Snakemake's event; empty for a plain message."""
    event = getattr(record, "event", None)
    return "" if event is None else str(getattr(event, "value", event))


def held_by_another(reports: Path, experiment: str) -> str | None:
    """A warning if ``reports`` holds another experiment's files, which this run will replace."""
    page = reports / "index.html"
    text = page.read_text() if page.is_file() else ""
    title = re.search(r"<title>firp-bench: (.*?)</title>", text)
    if title is None or title[1] == experiment:
        return None
    return f"{reports}/ holds the reports of {title[1]}; those of {experiment} take their place"


def remove_others(reports: Path, experiment: str, names: Iterable[str]) -> None:
    """Delete PDFs of sets that ``experiment`` has no report for, once its own page is there: they
    are copies of an earlier experiment's.
    """
    if (reports / "index.html").is_file() and held_by_another(reports, experiment) is None:
        for name in set(DATASETS) - set(names):
            (reports / f"{name}.pdf").unlink(missing_ok=True)


def speak_in_words(logger: logging.Logger) -> None:
    """Let the handler by which Snakemake's ``logger`` writes to the terminal use JobLines."""
    for handler in logger.handlers:
        if handler.get_name() == HANDLER:
            lines = JobLines(handler.formatter)
            handler.setFormatter(lines)
            handler.addFilter(lines.filter)
