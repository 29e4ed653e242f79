"""Setting up a timed session: its target, decoders, prompts and provenance."""

from dataclasses import asdict, dataclass
from functools import partial
from itertools import cycle, islice
from pathlib import Path

from harness.data.prompts import read_prompts, shard_of
from harness.decoder import Decoder, Sampling
from harness.engine.target import SPARE_ROWS, Target
from harness.engine.weights import library
from harness.errors import HarnessError
from harness.experiment.arms import Arms
from harness.experiment.folder import COSINE, LEARNT
from harness.experiment.records import Header, Provenance, Record, is_failure
from harness.experiment.steps import SessionStep
from harness.files import sha256_file, sha256_json, write_json
from harness.measure.arms import build_decoders, most_rows
from harness.measure.audit import audit, finite
from harness.measure.machine import commit, fingerprint, machine, packages, source_hash
from harness.measure.session import Plan, run_session
from harness.models import ModelSpec, drawn_by, load_target, load_tokenizer, stop_ids


@dataclass(frozen=True, slots=True)
class SessionFiles:
    """Inputs and output of a session."""

    prompts: Path
    warmup: Path
    folders: Path  # <folders>/<method> holds what training and tuning wrote
    out: Path


def measure_session(
    spec: ModelSpec,
    arms: Arms,
    files: SessionFiles,
    options: SessionStep,
) -> None:
    """Run one session; writes rows to ``files.out`` and provenance beside it.

    Where the labels of ``options`` name a shard, only its questions are measured.
    """
    sources = source_hash()  # taken first: files may be edited while the model loads
    spec = spec.pinned()
    target, tokenizer = load_target(spec), load_tokenizer(spec)
    stops = stop_ids(target, tokenizer)
    prompts, labels = read_prompts(files.prompts), options["labels"]
    # over all shards, so that each has buffers of the same size
    longest = max(len(prompt.input_ids) for prompt in prompts) + options["max_new_tokens"]
    decoders = build_decoders(target, arms, files.folders)
    _check_context(target, longest, decoders)
    # Once for all arms and prompts: the first arm would be charged for growth inside its run.
    target.begin(longest + max(SPARE_ROWS, *map(most_rows, decoders.values())))
    facts = machine(target.devices, target.product_kind)
    plan = Plan(
        arms=decoders,
        prompts=shard_of(prompts, labels.get("shard", 1), labels.get("shards", 1)),
        warmup=list(islice(cycle(read_prompts(files.warmup)), options["warmup"])),
        max_new_tokens=options["max_new_tokens"],
        stops=stops,
        device=target.device,
        seed=options["seed"],
        labels=labels,
        fingerprint=fingerprint(facts),
        detokenise=lambda ids: str(tokenizer.decode(ids, skip_special_tokens=True)),
        audit=partial(audit, target),
        finite=partial(finite, target),
        parameters=target.model.num_parameters(),
        sampling=drawn_by(Sampling(**options.get("sampling", {})), tokenizer),
    )
    header: Header = {
        "options": sha256_json([options, {name: arm.given() for name, arm in arms.items()}]),
        "prompts": sha256_file(files.prompts),
        "warmup": sha256_file(files.warmup),
        "weights": target.weights_hash,
        "model_config": sha256_json(target.config.to_dict()),
        "stops": sorted(stops),
        "methods": {name: _folder_hash(files.folders / arms[name].folder) for name in sorted(arms)},
        "sources": sources,
        "model": asdict(spec),
        "machine": facts,
        "packages": packages(),
        "quantised_by": library(spec.weights),
    }
    run_session(
        plan, files.out, header, lambda rows: _write_provenance(files.out, header, plan, arms, rows)
    )


def _write_provenance(
    out: Path, header: Header, plan: Plan, arms: Arms, rows: list[Record]
) -> None:
    provenance: Provenance = {
        **header,
        "commit": commit(),  # not in the header: a README edited meanwhile changes no row
        "dtype": str(header["model"]["dtype"]),
        "lossless": {name: arm.method.lossless for name, arm in arms.items()},
        "reference": {name: arm.method.reference for name, arm in arms.items()},
        "parameters": plan.parameters,
        # over all rows, also those that a killed process measured
        "extra_bytes": {
            arm: max((_extra_bytes(row) for row in rows if row["arm"] == arm), default=0)
            for arm in plan.arms
        },
        "uses": {name: arm.folder for name, arm in arms.items()},
        "trained": {name: arm.prepared.trained for name, arm in arms.items()},
        "tuned": {name: arm.prepared.tuned for name, arm in arms.items()},
        "sampling": _sampling_facts(plan.sampling),
    }
    write_json(out.with_suffix(".provenance.json"), provenance)


def _sampling_facts(sampling: Sampling) -> dict[str, float]:
    """Settings of the draws, but for the ids of newlines and indents: the tokenizer gives these."""
    facts = {"temperature": sampling.temperature, "seed": sampling.seed, "top_p": sampling.top_p}
    block = sampling.block_temperature
    return facts if block is None else {**facts, "block_temperature": block}


def _extra_bytes(record: Record) -> int:
    """Bytes that an arm held beside the target's weights; 0 for an arm that left."""
    return 0 if is_failure(record) else record["extra_bytes"]


def _check_context(target: Target, longest: int, decoders: dict[str, Decoder]) -> None:
    """Refuse sequences longer than the model's context: they would run on rotations that it was
    never trained on, and foreign loops fail there.
    """
    context = getattr(target.config, "max_position_embeddings", None)
    arm, decoder = max(decoders.items(), key=lambda item: item[1].beyond)
    if context is None or longest + decoder.beyond <= context:
        return
    drafts = f", and {decoder.beyond} drafts of '{arm}'" if decoder.beyond else ""
    raise HarnessError(
        f"longest prompt and answer: {longest} tokens{drafts}, expected at most the model's "
        f"context of {context}; lower longest_prompt or max_new_tokens"
    )


def _folder_hash(folder: Path) -> str:
    """Hash of what training and tuning wrote; empty without a folder."""
    if not folder.is_dir():
        return ""
    files = (file.name for file in folder.iterdir() if file.is_file())
    tables = (LEARNT, COSINE)  # for readers; they may be written between two sessions
    names = sorted(name for name in files if not name.startswith(".") and name not in tables)
    return sha256_json({name: sha256_file(folder / name) for name in names})
