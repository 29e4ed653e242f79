"""Choosing a method's setting on the tune split, by measured decode time.

Of more than four candidates the best four are picked first, by a foretold speed, or, if no speed
was foretold, by timing all candidates on a fifth of the requests. They, and the default setting
(the authors' own, or the plainest), are then timed side by side on all requests, or on as many as
the job's seconds allow. On each request they and autoregressive decoding take turns in a random
order. If the seconds do not suffice for three requests with all of them, the slowest so far are
dropped. The test split is never read.
"""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import numpy as np
import torch
from tqdm import tqdm

from harness.engine import Decoder, Drafter, EngineDecoder, Request, collect
from harness.files import write_csv, write_json
from harness.measure.step_cost import ForwardCost, StepCost
from harness.measure.timing import TimedRun, run_timed, synchronise
from harness.method import Job, Setting
from methods.shared.choices import SETTING

TRIALS = "trials.csv"
MEASURED = (
    *("requests", "speedup", "acceptance_length"),
    *("predicted_acceptance_length", "predicted_speedup"),
)
FINALISTS, SCREENED = 4, 5  # candidates timed on all requests; a screening takes every fifth one
SKETCHED, SKETCH_TOKENS = 3, 32  # requests of untimed decodes, and the most tokens of an answer
WARM_UP_TOKENS = 16  # new tokens of the answer by which a candidate is warmed up
LEAST = 3  # requests that are timed however little time is left: one of each of three data sets
REPEATS = 15  # runs of a part of a step by which its time is foretold
SHARE = 1 / 3  # of the job's seconds, the most that untimed decodes may take


@dataclass(slots=True)
class Trial:
    """A candidate, its decode-phase totals, and autoregressive decoding's seconds on the same
    requests.

    ``setting``: what ``setting.json`` will hold if it wins. ``predicted``: an acceptance length
    foretold from rank traces, the text alone or untimed decodes, if any. ``foretold``: the speedup
    that it gives by the cost of forwards, if that is known. ``default`` marks the setting that the
    method's authors use or, where they name none for such a target, the plainest. ``drafting``:
    milliseconds of a step outside its forwards, as far as they are known. ``dropped``: left out
    halfway through foretelling for being slower; only a default is timed in spite of it.
    """

    setting: Setting
    decoder: Decoder
    predicted: float | None = None
    default: bool = False
    foretold: float | None = None
    drafting: float = 0.0
    dropped: bool = False
    requests: int = 0
    seconds: float = 0.0
    baseline_seconds: float = 0.0
    tokens: int = 0
    steps: int = 0
    rows: int = 0

    @property
    def speedup(self) -> float:
        """Speedup over autoregressive decoding of the same requests; 0 before anything is timed."""
        return self.baseline_seconds / self.seconds if self.seconds else 0.0

    @property
    def acceptance_length(self) -> float:
        """Tokens committed per decode-phase step."""
        return self.tokens / self.steps if self.steps else 0.0

    def restart(self) -> None:
        """Drop the totals of the screening: finalists are compared on all requests alike."""
        self.requests = self.tokens = self.steps = self.rows = 0
        self.seconds = self.baseline_seconds = 0.0

    def add(self, run: TimedRun, baseline: TimedRun) -> None:
        """Count one request, which autoregressive decoding answered in the same round."""
        self.requests += 1
        self.seconds += run.decode_seconds
        self.baseline_seconds += baseline.decode_seconds
        self.tokens += len(run.tokens) - len(run.records[0].tokens)
        self.steps += len(run.records) - 1
        self.rows += sum(record.rows for record in run.records[1:])


def milliseconds(run: Callable[[], object], device: torch.device) -> float:
    """The median time of ``run``, a part of a step, by itself."""
    seconds = []
    with torch.inference_mode():
        for _ in range(REPEATS):
            synchronise(device)
            began = time.perf_counter()
            run()
            synchronise(device)
            seconds.append(time.perf_counter() - began)
    return 1000 * median(seconds)


def foretell_tree(job: Job, trial: Trial, way: str = "", entries: Sequence[int] = ()) -> None:
    """Foretell a tree's speedup from its ``predicted`` acceptance length and its forwards' cost.

    ``way`` and ``entries`` are those of :class:`StepCost`: how pseudo rows run, and the layers at
    which they enter.
    """
    if job.forwards is None or trial.predicted is None:
        return
    cost = StepCost(job.forwards, job.context, trial.drafting, list(entries))
    plain = StepCost(job.forwards, job.context, 0.0, [])
    drafts, depth = (np.array([trial.setting[key]]) for key in ("drafts", "depth"))
    none = np.zeros(1, dtype=int)
    step = cost.step_ms(way, drafts, depth)[0]
    trial.foretold = float(trial.predicted * plain.step_ms("", none, none)[0] / step)


@dataclass(slots=True)
class Sketch:
    """Totals over a trial's decodes, untimed or replayed, from which its speed is foretold:
    ``tokens`` and ``steps`` without the prefill, ``cost`` in milliseconds of these steps by the
    table of forwards, ``plain`` in milliseconds of autoregressive steps for the same tokens.
    """

    trial: Trial
    forwards: ForwardCost
    tokens: int = 0
    steps: int = 0
    cost: float = 0.0
    plain: float = 0.0

    def add(self, prompt: int, counts: np.ndarray, rows: np.ndarray) -> None:
        """Count a decode after ``prompt`` tokens.

        ``counts``: tokens of each step, the prefill first; ``rows``: of the forwards after it.
        """
        context = prompt + np.cumsum(counts)[:-1] - 1
        self.tokens, self.steps = self.tokens + int(counts[1:].sum()), self.steps + len(rows)
        self.cost += float(self.forwards(rows, context).sum()) + len(rows) * self.trial.drafting
        self.plain += float(counts[1:] @ self.forwards(np.ones(len(rows), dtype=int), context))

    def foretell(self) -> None:
        """Foretell the trial's acceptance length and speedup from all decodes so far."""
        self.trial.predicted = self.tokens / max(1, self.steps)
        self.trial.foretold = self.plain / self.cost if self.cost else 1.0


def out_of_time(job: Job) -> bool:
    """Whether foretelling has had its ``SHARE`` of the job's seconds."""
    return job.seconds is not None and job.seconds_left < (1 - SHARE) * job.seconds


def foretell_by_decoding(job: Job, trials: Sequence[Trial]) -> None:
    """Foretell speedups by untimed decodes: the first tokens of a few requests.

    All trials decode the first request, in a random order. Then the better half of them, but at
    least ``FINALISTS``, decode the next one, and so on, until ``SHARE`` of the job's seconds is
    used up. If that happens during the first request, trials that have not decoded it are no longer
    candidates, except the default one (of at most ``FINALISTS`` trials all stay). If it happens
    during a later request, that request counts for no trial, since answers differ in how well they
    are drafted. As long as no trial has taken a decode step, none is left out.
    """
    if job.forwards is None:
        return
    rng, racing = random.Random(job.seed), [Sketch(trial, job.forwards) for trial in trials]
    for number, request in enumerate(tqdm(job.requests[:SKETCHED], desc="foretelling")):
        reached = _sketched(job, request, rng.sample(racing, len(racing)))
        whole = len(reached) == len(racing)
        if whole or number == 0:
            for sketch in reached:
                sketch.foretell()
        if not whole:
            return
        if not any(sketch.steps for sketch in racing):
            continue
        racing.sort(key=lambda sketch: _foretold_order(sketch.trial))
        for sketch in racing[max(FINALISTS, (len(racing) + 1) // 2) :]:
            sketch.trial.dropped = True
        racing = [sketch for sketch in racing if not sketch.trial.dropped]


def _sketched(job: Job, request: Request, sketches: Sequence[Sketch]) -> list[Sketch]:
    """Have trials decode the first tokens of ``request``, one after the other. Returns those that
    began before the time was up; the first always does.
    """
    short = replace(request, max_new_tokens=min(SKETCH_TOKENS, request.max_new_tokens))
    for number, sketch in enumerate(sketches):
        if number and out_of_time(job):
            return list(sketches[:number])
        _, records = collect(sketch.trial.decoder, short)
        counts = np.array([len(record.tokens) for record in records])
        rows = np.array([record.rows for record in records[1:]])
        sketch.add(len(request.prompt_ids), counts, rows)
    return list(sketches)


def _foretold_order(trial: Trial) -> tuple[bool, float]:
    """Orders trials, the fastest by what is foretold first; those that dropped out come last."""
    return trial.dropped, -(trial.foretold or 0.0)


def settle(job: Job, name: str, trials: list[Trial]) -> None:
    """Choose among ``trials`` by ``tuning_rounds`` of the job's settings; write the setting."""
    best = choose(job, name, trials, job.settings.tuning_rounds)
    write_json(job.folder / SETTING, best.setting)


def choose(job: Job, name: str, trials: list[Trial], rounds: int = 1) -> Trial:
    """The fastest of ``trials``; writes all of them to ``trials.csv`` in the job's folder.

    Finalists go ``rounds`` times through all requests, or as far as the job's seconds reach, but
    the fastest always through the first ``LEAST`` requests.
    """
    rng = random.Random(job.seed)
    finalists = _finalists(job, name, trials, rng)
    time_trials(job, name, finalists, list(job.requests) * rounds, rng)
    best = max(finalists, key=_reached)
    _write(job.folder / TRIALS, trials, best)
    return best


def _finalists(job: Job, name: str, trials: list[Trial], rng: random.Random) -> list[Trial]:
    """The ``FINALISTS`` best trials, by foretold speedup or, if none was foretold, by a screening;
    and the default ones. If there are no more than ``FINALISTS`` trials, all are finalists.
    """
    if len(trials) <= FINALISTS:
        return trials
    if foretold := [trial for trial in trials if trial.foretold is not None]:
        ordered = sorted(foretold, key=_foretold_order)
    else:
        time_trials(job, name, trials, job.requests[::SCREENED], rng)
        most = max(trial.requests for trial in trials)
        ordered = sorted(trials, key=_reached, reverse=True)
        ordered = [trial for trial in ordered if trial.requests == most]
    finalists = ordered[:FINALISTS]
    finalists += [trial for trial in trials if trial.default and trial not in finalists]
    for trial in finalists:
        trial.restart()
    return finalists


def _reached(trial: Trial) -> tuple[int, float]:
    """Orders trials: one that dropped out for being slow stands below those that went on."""
    return trial.requests, trial.speedup


def time_trials(
    job: Job, name: str, trials: list[Trial], requests: Sequence[Request], rng: random.Random
) -> None:
    """Time every trial and autoregressive decoding on every request, in a random order each time.

    After the first ``LEAST`` requests, another one is begun only if the job's seconds suffice for
    as long as the one before took. If they do not suffice for the first ``LEAST`` with all trials,
    only the fastest so far go on, at least one.
    """
    plain = EngineDecoder(job.target, Drafter())  # autoregressive
    first = job.requests[0]
    warm_up = replace(first, max_new_tokens=min(WARM_UP_TOKENS, first.max_new_tokens))
    for decoder in (*(trial.decoder for trial in trials), plain):
        run_timed(decoder, warm_up, job.target.device)  # masks, layouts, arena
    racing, took = trials, 0.0
    for number, request in enumerate(tqdm(requests, desc=f"{name} tuning", unit="prompt")):
        if number >= LEAST and job.seconds_left <= took:
            break
        begun = time.monotonic()
        order = rng.sample([*racing, None], len(racing) + 1)
        runs = [
            (trial, run_timed(trial.decoder if trial else plain, request, job.target.device))
            for trial in order
        ]
        took = time.monotonic() - begun
        (baseline,) = (run for trial, run in runs if trial is None)
        for trial, run in runs:
            if trial is not None:
                trial.add(run, baseline)
                trial.decoder.remember(run.records)
        if (more := LEAST - 1 - number) > 0:
            racing = _affordable(racing, job.seconds_left, more * took / len(runs))


def _affordable(trials: list[Trial], seconds: float, each: float) -> list[Trial]:
    """The fastest of ``trials``, as many as ``seconds`` suffice for beside autoregressive decoding
    at ``each`` seconds a decoder; at least one.
    """
    if (len(trials) + 1) * each <= seconds:
        return trials
    ordered = sorted(trials, key=lambda trial: -trial.speedup)
    return ordered[: max(1, int(seconds / each) - 1)]


def _write(path: Path, trials: list[Trial], best: Trial) -> None:
    """One line per trial: its role, the plain values of its setting, then what was measured."""
    keys = [k for k, v in trials[0].setting.items() if isinstance(v, str | int | float)]
    lines = []
    for trial in trials:
        measured = (trial.speedup, trial.acceptance_length) if trial.requests else (None, None)
        figures = (*measured, trial.predicted, trial.foretold)
        roles = {"chosen": trial is best, "default": trial.default}
        role = " ".join(name for name, applies in roles.items() if applies)
        values = ["" if figure is None else f"{figure:.4f}" for figure in figures]
        lines.append([role, *(trial.setting[k] for k in keys), trial.requests, *values])
    write_csv(path, ["role", *keys, *MEASURED], lines)
