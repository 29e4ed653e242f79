"""A session: one process, one target, all arms, every question, in a balanced random order.

Rows (one per prompt and arm) go to the journal after all arms of a prompt, outside timed spans.
"""

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import cast

import torch
from tqdm import tqdm

from harness.data.prompts import Prompt
from harness.decoder import GREEDY, Decoder, Request, Sampling, StepRecord
from harness.errors import HarnessError, named
from harness.experiment.records import (
    BASELINE,
    Divergence,
    Failure,
    Gap,
    Labels,
    Outcome,
    Place,
    Record,
    Row,
    is_failure,
)
from harness.measure.audit import distance, own_gap, own_width_leaves
from harness.measure.journal import Journal
from harness.measure.roster import Roster
from harness.measure.timing import TimedRun


@dataclass(frozen=True, slots=True)
class Plan:
    """What a session measures; ``labels`` and ``fingerprint`` go into every row."""

    arms: dict[str, Decoder]
    prompts: Sequence[Prompt]
    warmup: Sequence[Prompt]
    max_new_tokens: int
    stops: frozenset[int]
    device: torch.device
    seed: int
    labels: Labels
    fingerprint: str  # of the machine
    parameters: int  # of the target
    detokenise: Callable[[list[int]], str]
    # after these tokens, the target's gap between the baseline's next token and the arm's
    audit: Callable[[tuple[int, ...], tuple[int, int], Sampling], Gap]
    # whether the target's logits for an answer to a prompt are numbers
    finite: Callable[[tuple[int, ...], list[int]], bool]
    sampling: Sampling = GREEDY

    def request(self, prompt: Prompt) -> Request:
        """The same request for every arm."""
        sampling = self.sampling.of(prompt.sha256)
        return Request(prompt.input_ids, self.max_new_tokens, self.stops, sampling)


def balanced_orders(arms: Sequence[str], seed: int) -> Iterator[list[str]]:
    """Endless orders of the arms: rows of Williams squares, each square in a new random shuffle.

    In a square every arm stands equally often at every place and (for an even number of arms)
    follows every other equally often.
    """
    rng = random.Random(f"order/{seed}")
    count = len(arms)
    zigzag = [0, *(x for i in range(1, count // 2 + 1) for x in (i, count - i))][:count]
    while True:
        names = rng.sample(list(arms), count)
        rows = list(range(count))
        rng.shuffle(rows)
        for row in rows:
            yield [names[(z + row) % count] for z in zigzag]


def run_session(
    plan: Plan,
    out: Path,
    header: Mapping[str, object],
    before_finish: Callable[[list[Record]], None],
) -> None:
    """Measure every prompt not yet in the journal; ``out`` appears when all are there.

    ``before_finish`` is called with all rows when everything is measured and the journal still
    exists, so that what it fails to write can be written by the next run. An arm that runs out of
    memory leaves a row that says so, and no more.
    """
    with Journal(out, header) as journal:
        failed = {row["arm"]: row["failure"] for row in journal.rows if is_failure(row)}
        roster = Roster(plan.arms, plan.device, failed)
        roster.warm_up([(prompt, plan.request(prompt)) for prompt in plan.warmup])
        _relive(plan, journal.rows)
        with tqdm(_in_order(plan), desc=out.stem, total=len(plan.prompts), unit="prompt") as asked:
            for prompt, order in asked:
                if prompt.prompt_id not in journal.done:
                    rows = _measure(plan, roster, prompt, order, journal.blocks)
                    journal.add(prompt.prompt_id, rows)
                    _remember(plan, rows)
        before_finish(journal.rows)
        journal.finish()


def _in_order(plan: Plan) -> Iterator[tuple[Prompt, list[str]]]:
    """Every prompt with the order in which the arms answer it, the same for a question's turns."""
    questions = groupby(plan.prompts, key=lambda prompt: prompt.question_id)
    orders = balanced_orders(list(plan.arms), plan.seed)
    for (_, turns), order in zip(questions, orders, strict=False):
        for prompt in turns:
            yield prompt, order


def _remember(plan: Plan, rows: Sequence[Record]) -> None:
    """Let each arm carry over what the answer that it just gave has taught."""
    for row in rows:
        if not is_failure(row):
            plan.arms[row["arm"]].remember(_records(row))


def _relive(plan: Plan, rows: Sequence[Record]) -> None:
    """Let the arms carry over what their answers taught in a process that was killed."""
    prompts = {prompt.prompt_id: prompt for prompt in plan.prompts}
    for row in rows:
        if not is_failure(row):
            request = plan.request(prompts[row["prompt_id"]])
            plan.arms[row["arm"]].relive(request, _records(row))


def _measure(
    plan: Plan, roster: Roster, prompt: Prompt, order: list[str], block: int
) -> list[Record]:
    """Rows of one prompt in the order in which the arms ran, after records of arms that failed."""
    request = plan.request(prompt)
    turns = roster.turns(prompt, request, order)
    _check_finite(plan, prompt, {arm: turn.run for arm, turn in turns.items()})
    truth = turns[BASELINE].run.tokens
    failures, roster.unwritten = roster.unwritten, []
    place = _place(plan, prompt, block)
    rows: list[Record] = [cast(Failure, {**place, **failure}) for failure in failures]
    for order_of_arm, (name, turn) in enumerate(turns.items()):
        with named(f"{name}, prompt {prompt.prompt_id}"):
            row: Row = {
                **place,
                "arm": name,
                "order": order_of_arm,
                **_outcome(turn.run, request),
                "text": plan.detokenise(turn.run.tokens),
                "divergence": _divergence(plan, request, truth, (name, turn.run.tokens)),
                "device_state": turn.state,
                "extra_bytes": plan.arms[name].extra_bytes(),
                "distance": distance(plan.arms[name], request, turn.run.records),
            }
        rows.append(row)
    rows[-1]["last_of_prompt"] = True
    return rows


def _place(plan: Plan, prompt: Prompt, block: int) -> Place:
    return {
        **plan.labels,
        "fingerprint": plan.fingerprint,
        "prompt_id": prompt.prompt_id,
        "question_id": prompt.question_id,
        "category": prompt.category,
        "turn": prompt.turn,
        "ids_sha256": prompt.sha256,
        "block": block,
        "last_of_prompt": False,  # set where it is the last
    }


def _check_finite(plan: Plan, prompt: Prompt, runs: dict[str, TimedRun]) -> None:
    """Refuse answers whose logits are NaN or infinite: argmax returns a token for these as well.

    An untimed forward of the target over each distinct answer shows this, whichever arm decoded it.
    """
    seen = set()
    for name in sorted(runs, key=lambda name: name != BASELINE):
        tokens = runs[name].tokens
        if tuple(tokens) in seen:
            continue
        seen.add(tuple(tokens))
        with named(f"{name}, prompt {prompt.prompt_id}"):
            if not plan.finite(prompt.input_ids, tokens):
                raise HarnessError(
                    "the target's logits for the answer are NaN or infinite, expected numbers"
                )


def _divergence(
    plan: Plan, request: Request, truth: list[int], arm: tuple[str, list[int]]
) -> Divergence | None:
    """Where an arm's answer first leaves ``truth``, the baseline's, with the gaps of logits there:
    the target's, and those from which the two arms chose; None for equal answers. ``arm``: its name
    and its answer.

    If one answer is the beginning of the other, rounding is no reason: the margin is infinite.
    """
    name, tokens = arm
    if tokens == truth:
        return None
    at = next(
        (i for i, pair in enumerate(zip(truth, tokens, strict=False)) if pair[0] != pair[1]),
        min(len(truth), len(tokens)),
    )
    if at == min(len(truth), len(tokens)):
        return {"index": at, "margin": math.inf}
    return {
        "index": at,
        **plan.audit((*request.prompt_ids, *truth[:at]), (truth[at], tokens[at]), request.sampling),
        "baseline_gap": own_gap(plan.arms[BASELINE], request, truth, at),
        "arm_gap": own_gap(plan.arms[name], request, tokens, at),
        "own_width": own_width_leaves(plan.arms[name], request, truth, at),
    }


def _outcome(run: TimedRun, request: Request) -> Outcome:
    records = run.records
    return {
        "output_ids": run.tokens,
        "step_tokens": [len(record.tokens) for record in records],
        "step_draft_size": [record.draft_size for record in records],
        "step_rows": [record.rows for record in records],
        "step_path": [list(record.path) for record in records],
        "prefill_seconds": run.prefill_seconds,
        "decode_seconds": run.decode_seconds,
        "stop_reason": run.stop_reason(request),
    }


def _records(row: Row) -> list[StepRecord]:
    """The step records of a row."""
    tokens = iter(row["output_ids"])
    counts, sizes, rows = row["step_tokens"], row["step_draft_size"], row["step_rows"]
    return [
        StepRecord(tuple(islice(tokens, count)), size, step_rows, tuple(path))
        for count, size, step_rows, path in zip(counts, sizes, rows, row["step_path"], strict=True)
    ]
