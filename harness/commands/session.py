"""Running one timed session."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.data.prompts import read_prompts
from harness.files import sha256_file, sha256_json, write_json
from harness.measure.machine import commit, fingerprint, machine, packages
from harness.measure.session import Plan, run_session
from harness.method import Method, parse_settings
from harness.models import ModelSpec, load_target, load_tokenizer, stop_ids


@dataclass(frozen=True, slots=True)
class SessionFiles:
    """Inputs and output of a session."""

    prompts: Path
    warmup: Path
    folders: Path  # <folders>/<method> holds what training and tuning wrote
    out: Path


def measure_session(
    spec: ModelSpec,
    arms: dict[str, tuple[Method, dict[str, Any]]],
    files: SessionFiles,
    options: dict[str, Any],
) -> None:
    """Run one session; writes rows to ``files.out`` and provenance beside it.

    ``options``: labels, seed, max_new_tokens, warmup (number of prompts).
    """
    target, tokenizer = load_target(spec), load_tokenizer(spec)
    stops = stop_ids(target, tokenizer)
    decoders = {}
    for name, (method, given) in arms.items():
        folder = files.folders / name
        settings = parse_settings(name, method, given)
        decoders[name] = method.build(target, settings, folder if folder.is_dir() else None)
    facts = machine(target.device)
    plan = Plan(
        arms=decoders,
        prompts=read_prompts(files.prompts),
        warmup=read_prompts(files.warmup)[: options["warmup"]],
        max_new_tokens=options["max_new_tokens"],
        stops=stops,
        device=target.device,
        seed=options["seed"],
        labels={**options["labels"], "fingerprint": fingerprint(facts)},
        detokenise=lambda ids: str(tokenizer.decode(ids, skip_special_tokens=True)),
        audit=target.margin,
    )
    header = {
        "options": sha256_json([options, {n: given for n, (_, given) in arms.items()}]),
        "prompts": sha256_file(files.prompts),
        "weights": target.weights_hash,
        "methods": {name: _folder_hash(files.folders / name) for name in sorted(arms)},
        "commit": commit(),
    }
    run_session(plan, files.out, header)
    provenance = {
        **header,
        "machine": facts,
        "packages": packages(),
        "dtype": spec.dtype,
        "parameters": sum(p.numel() for p in target.model.parameters()),
        "extra_bytes": {name: decoder.extra_bytes() for name, decoder in decoders.items()},
    }
    write_json(files.out.with_suffix(".provenance.json"), provenance)


def _folder_hash(folder: Path) -> str:
    """Hash of what training and tuning wrote; empty without a folder."""
    if not folder.is_dir():
        return ""
    names = sorted(p.name for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
    return sha256_json({name: sha256_file(folder / name) for name in names})
