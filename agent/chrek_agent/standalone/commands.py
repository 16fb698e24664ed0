"""The plain commands. Each returns its exit code and raises ChrekError."""

import argparse
import asyncio
import os
import tempfile
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import yaml

from chrek_agent.capture import Capture, seconds_since_start
from chrek_agent.config import AgentConfig
from chrek_agent.container import control, inventory, processes, stopped
from chrek_agent.container.thaw import thaw
from chrek_agent.criu.runner import Criu
from chrek_agent.errors import AgentError
from chrek_agent.journal import record
from chrek_agent.node import facts, gate
from chrek_agent.node.checks import node_checks
from chrek_agent.restore import Restore, wait_for_shim
from chrek_agent.standalone import output
from chrek_agent.standalone.inspecting import read_contents
from chrek_agent.standalone.locating import locate
from chrek_agent.standalone.references import Reference, absolute, resolve, said
from chrek_agent.standalone.telling import inventory_text
from chrek_agent.store.model import IMAGES, Manifest
from chrek_agent.store.where import open_store, parse_place
from kubectl_chrek.api import names
from kubectl_chrek.api.checkpoint import Artifact, Checkpoint, read_checkpoint
from kubectl_chrek.api.compatibility import Compatibility, evaluate
from kubectl_chrek.api.errors import UsageError
from kubectl_chrek.api.identity import parse_identity
from kubectl_chrek.api.node import FAIL

NAMESPACE: Final = "standalone"


def configured(args: argparse.Namespace) -> AgentConfig:
    """The settings, with all directories made."""
    config = AgentConfig(
        node=args.node or os.uname().nodename,
        **_place(args.store),
        state=args.state,
        criu_root=args.criu_root,
        cgroup_root=args.cgroup_root,
        huge_pages=args.huge_pages,
        keep_connections=not args.close_connections,
    )
    for path in (config.journal, config.work, *(() if config.storage else (config.base_path,))):
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return config


def _place(store: str) -> dict[str, Any]:
    """The store, as the settings have it. Raises UsageError."""
    place = parse_place(absolute(store))
    return {"base_path": place} if isinstance(place, Path) else {"storage": store}


async def capture(args: argparse.Namespace) -> int:
    """Captures a container's worker into the store; it runs on."""
    config = configured(args)
    container = locate(args.target, config.cgroup_root)
    if len(processes.namespace_members(container.init)) < 2:
        hint = f"start the worker by our shim, with {names.ENV_SIGNAL_FILE} set to a file in {names.CONTROL_DIR}"
        raise AgentError(f"container {container.id[:12]} is its PID 1 alone, which cannot be captured", hint=hint)
    checkpoint = _checkpoint(args.identity)
    work = Capture(config, Criu(config.criu_root), open_store(config.location, config.staging))
    pod = {"metadata": {"name": container.id[:12]}, "status": {}}
    halted = stopped.among(processes.beside(container.init))
    with record(config.journal, "capture", container) as entry:
        try:
            cold_start = seconds_since_start(container)
            captured = await work.run(pod, checkpoint, container, entry, lambda *_: None, cold_start=cold_start)
        finally:
            thaw(container.init, halted)
    manifest = captured.manifest
    found = {
        "artifact": f"{manifest.identity_hash}/{manifest.generation}",
        "store": config.location,
        "digest": captured.digest,
        "bytes": manifest.size,
        "seconds": captured.seconds,
        "phases": manifest.phases,
    }
    if args.output == "json":
        output.write_json(found)
    else:
        phases = ", ".join(f"{name} {seconds:.2f}" for name, seconds in manifest.phases.items())
        output.write(output.fields(found | {"bytes": output.size(manifest.size), "phases": phases}))
    return 0


def _checkpoint(identity: Path) -> Checkpoint:
    """A checkpoint of the identity in a YAML file, which nobody else knows of. Raises UsageError."""
    try:
        spec = yaml.safe_load(identity.read_text())
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UsageError(f"identity file {identity} cannot be read: {error}") from error
    metadata = {"name": identity.stem, "namespace": NAMESPACE, "uid": f"{NAMESPACE}-{identity.stem}"}
    parse_identity(spec, where=str(identity))
    return read_checkpoint({"metadata": metadata, "spec": {"identity": spec}})


async def restore(args: argparse.Namespace) -> int:
    """Restores an artifact into a container whose PID 1 is our shim and waits."""
    config = configured(args)
    reference = await asyncio.to_thread(resolve, args.artifact, config.location, config.staging)
    container = locate(args.target, config.cgroup_root)
    store, criu = reference.store, Criu(config.criu_root)
    if not (container.root / names.CONTROL_DIR.lstrip("/")).is_dir():
        hint = f"its PID 1 must be our shim, with a directory at {names.CONTROL_DIR}"
        raise AgentError(f"container {container.id[:12]} does not wait to be restored", hint=hint)
    await wait_for_shim(container, seconds=args.wait)
    try:
        artifact = Artifact(generation=reference.generation, digest=reference.digest)
        work = Restore(config, criu, store)
        captured = await work.record(reference.identity_hash, artifact)
        here = await asyncio.to_thread(facts.of_target, await criu.version(), container, {"metadata": {}})
        gate.refuse(evaluate(captured, here, overrides=frozenset(args.override)))
        restored = await work.run(reference.generation, reference.identity_hash, artifact, container, "")
    except (AgentError, OSError) as error:
        control.decide(container, {"result": "cold", "reason": str(error)})
        raise
    if args.output == "json":
        output.write_json(asdict(restored))
    else:
        output.write(f"PID {restored.pid} of container {container.id[:12]} runs, {restored.seconds:.2f} s after its start")
    return 0


async def inspect(args: argparse.Namespace) -> int:
    """Shows what is in an artifact."""
    reference = await asyncio.to_thread(resolve, args.artifact, args.store, args.state)
    with tempfile.TemporaryDirectory(prefix="chrek-") as name:
        manifest = await asyncio.to_thread(_materialise, reference, Path(name))
        contents = read_contents(Path(name) / IMAGES)
        kept = Path(name) / inventory.FILE
        held = inventory.parse_inventory(kept.read_bytes()) if kept.exists() else None
    record = _compatibility(manifest)
    found: dict[str, Any] = {
        "artifact": f"{manifest.identity_hash}/{manifest.generation}",
        "identity": manifest.identity,
        "createdAt": manifest.created_at.isoformat(),
        "source": manifest.source.model_dump(mode="json"),
        "bytes": manifest.size,
        "compatibility": record.model_dump(mode="json", by_alias=True, exclude_none=True) | _names(record),
        **asdict(contents),
        "inventory": held and held.model_dump(mode="json"),
    }
    if args.output == "json":
        output.write_json(found)
        return 0
    rows = [(p.pid, p.parent, p.threads, *map(output.size, (p.anonymous, p.shared, p.mapped)), p.name) for p in contents.processes]
    head = ("PID", "PARENT", "THREADS", "ANONYMOUS", "SHARED", "FILES", "NAME")
    shown = {
        "artifact": found["artifact"],
        "captured": f"{found['createdAt']} on {manifest.source.node}",
        "bytes": output.size(manifest.size),
        "command": " ".join(record.argv or ["not known"]),
        "variables": " ".join(sorted(record.env_flags or {})) or "none",
        "open files": ", ".join(f"{count} {kind}" for kind, count in contents.kinds.items()),
    }
    details = inventory_text(held) if held else _lists(contents.sockets, contents.files)
    output.write("\n\n".join([output.fields(shown), output.table(head, rows), *details]))
    return 0


def _names(record: Compatibility) -> dict[str, object]:
    """The names of variables in place of their values."""
    return {} if record.env_flags is None else {"envFlags": sorted(record.env_flags)}


def _lists(sockets: list[str], files: list[str]) -> list[str]:
    return [
        "\n".join([title, *(f"  {line}" for line in lines)]) for title, lines in (("SOCKETS", sockets), ("FILES", files)) if lines
    ]


async def verify(args: argparse.Namespace) -> int:
    """Reads an artifact back."""
    reference = await asyncio.to_thread(resolve, args.artifact, args.store, args.state)
    store, key = reference.store, (reference.identity_hash, reference.generation)
    signer = await asyncio.to_thread(store.signer, *key) if args.require_signature else ""
    manifest = await asyncio.to_thread(store.verify, *key, reference.digest)
    found = {"artifact": f"{manifest.identity_hash}/{manifest.generation}", "result": "ok", "bytes": manifest.size}
    found |= {"signedBy": signer} if signer else {}
    by = f", signed by {signer[:16]}" if signer else ""
    text = f"{found['artifact']}: ok, {output.size(manifest.size)}{by}"
    output.write_json(found) if args.output == "json" else output.write(text)
    return 0


async def sign(args: argparse.Namespace) -> int:
    """Signs an artifact with the key of CHREK_SIGNING_KEY."""
    reference = await asyncio.to_thread(resolve, args.artifact, args.store, args.state)
    signer = await asyncio.to_thread(reference.store.sign, *reference.named)
    found = {"artifact": "/".join(reference.named[:2]), "signedBy": signer}
    output.write_json(found) if args.output == "json" else output.write(f"{found['artifact']}: signed by {signer[:16]}")
    return 0


async def reseal(args: argparse.Namespace) -> int:
    """Seals what is under former keys, or lies open, with the current one; 1 where not all of it could be read."""
    store = open_store(absolute(args.store), args.state)
    with said():
        done = await asyncio.to_thread(store.reseal, datetime.now(UTC))
    if done.abandoned:
        raise AgentError(done.abandoned)
    found = {"packs": len(done.packs), "bytes": done.copied_bytes, "damaged": done.damaged}
    failed = f", {len(done.damaged)} could not be read" if done.damaged else ""
    text = f"{len(done.packs)} packs, {output.size(done.copied_bytes)} sealed anew{failed}"
    output.write_json(found) if args.output == "json" else output.write(text)
    return int(bool(done.damaged))


async def doctor(args: argparse.Namespace) -> int:
    """Checks this machine; 1 when a check fails."""
    config = AgentConfig("", **_place(args.store), state=args.state, criu_root=args.criu_root, cgroup_root=args.cgroup_root)
    try:
        version = await Criu(config.criu_root).version()
    except AgentError:
        version = ""
    checks = await asyncio.to_thread(node_checks, config, version, None)
    if args.output == "json":
        output.write_json([check.model_dump(by_alias=True) for check in checks])
    else:
        output.write(output.checks_text(checks))
    return int(any(check.verdict == FAIL for check in checks))


def _materialise(reference: Reference, directory: Path) -> Manifest:
    with said(), reference.store.open(*reference.named) as artifact:
        artifact.materialise(directory)
        return artifact.manifest


def _compatibility(manifest: Manifest) -> Compatibility:
    return Compatibility.model_validate(manifest.compatibility)
