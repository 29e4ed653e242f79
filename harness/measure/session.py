"""A session: one process, one target, all arms, every question, in a balanced random order.

Rows (one per prompt and arm) go to the journal after all arms of a prompt, outside timed spans.
"""

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from harness.data.prompts import Prompt
from harness.decoder import Decoder, Request
from harness.measure.journal import Journal
from harness.measure.machine import Disturbance, device_state
from harness.measure.timing import TimedRun, run_timed

BASELINE = "autoregressive"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a session measures. ``labels`` (experiment, model, dataset, session) go into rows."""

    arms: dict[str, Decoder]
    prompts: Sequence[Prompt]
    warmup: Sequence[Prompt]
    max_new_tokens: int
    stops: frozenset[int]
    device: torch.device
    seed: int
    labels: dict[str, Any]
    parameters: int  # of the target
    detokenise: Callable[[list[int]], str]
    # after these tokens, what the target thinks of the baseline's next token and of the arm's
    audit: Callable[[tuple[int, ...], int, int], dict[str, float]]

    def request(self, prompt: Prompt) -> Request:
        """The same request for every arm."""
        return Request(prompt.input_ids, self.max_new_tokens, self.stops)


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
    plan: Plan, out: Path, header: dict[str, Any], before_finish: Callable[[], None]
) -> None:
    """Measure every prompt not yet in the journal; ``out`` appears when all are there.

    ``before_finish`` is called when everything is measured and the journal still exists, so that
    what it fails to write can be written by the next run.
    """
    with Journal(out, header) as journal:
        _warm_up(plan)
        block = journal.blocks
        questions = groupby(plan.prompts, key=lambda prompt: prompt.question_id)
        orders = balanced_orders(list(plan.arms), plan.seed)
        with tqdm(total=len(plan.prompts), desc=out.stem, unit="prompt") as bar:
            for (_, turns), order in zip(questions, orders, strict=False):
                for prompt in turns:
                    if prompt.prompt_id not in journal.done:
                        journal.add(prompt.prompt_id, _measure(plan, prompt, order, block))
                    bar.update()
        before_finish()
        journal.finish()


def _warm_up(plan: Plan) -> None:
    """Every arm on held-out prompts: allocators, masks and code paths are paid for before."""
    for prompt in plan.warmup:
        for decoder in plan.arms.values():
            run_timed(decoder, plan.request(prompt), plan.device)


def _measure(plan: Plan, prompt: Prompt, order: list[str], block: int) -> list[dict[str, Any]]:
    """Rows of one prompt, in the order in which the arms ran."""
    request = plan.request(prompt)
    runs = {name: _watched(plan, name, request) for name in order}
    truth = runs[BASELINE][0].tokens
    rows = []
    for place, (name, (run, state)) in enumerate(runs.items()):
        row = {
            **plan.labels,
            "block": block,
            "prompt_id": prompt.prompt_id,
            "question_id": prompt.question_id,
            "category": prompt.category,
            "turn": prompt.turn,
            "arm": name,
            "order": place,
            "ids_sha256": prompt.sha256,
            **_outcome(run, request),
            "text": plan.detokenise(run.tokens),
            "divergence": _divergence(plan, prompt.input_ids, truth, run.tokens),
            "device_state": state,
            "last_of_prompt": place == len(order) - 1,
        }
        rows.append(row)
    return rows


def _watched(plan: Plan, name: str, request: Request) -> tuple[TimedRun, dict[str, float]]:
    """One timed run, and the machine's state before it and what disturbed it."""
    state, disturbance = device_state(plan.device), Disturbance()
    run = run_timed(plan.arms[name], request, plan.device)
    return run, state | disturbance.seconds()


def _divergence(
    plan: Plan, prompt: tuple[int, ...], truth: list[int], tokens: list[int]
) -> dict[str, Any] | None:
    """Where an arm's answer first leaves the baseline's, and the target's logit gaps there.

    An answer that only ends elsewhere is never numerical: its margin is infinite.
    """
    if tokens == truth:
        return None
    at = next(
        (i for i, pair in enumerate(zip(truth, tokens, strict=False)) if pair[0] != pair[1]),
        min(len(truth), len(tokens)),
    )
    if at == min(len(truth), len(tokens)):
        return {"index": at, "margin": math.inf}
    return {"index": at, **plan.audit((*prompt, *truth[:at]), truth[at], tokens[at])}


def _outcome(run: TimedRun, request: Request) -> dict[str, Any]:
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
