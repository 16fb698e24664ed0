"""From a pod's container to the config.json that runc reads. No input or output here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from kubectl_chrek.local.node import security
from kubectl_chrek.local.quantity import parse

PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_CPU_PERIOD: Final = 100_000


@dataclass(frozen=True, slots=True)
class Bind:
    """A directory or file of the node that a container sees."""

    source: Path
    target: str
    read_only: bool = False
    propagation: str = "rprivate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the node adds to the container's own spec."""

    root: Path
    hostname: str
    cgroup: str
    unified_cgroups: bool
    network: Path | None
    """None: the host's own."""
    available: set[str]
    """Capabilities the node can give."""
    binds: Sequence[Bind] = ()
    devices: Sequence[Mapping[str, Any]] = field(default_factory=tuple)


def config(
    pod: Mapping[str, Any], container: Mapping[str, Any], args: Sequence[str], env: Mapping[str, str], around: Surroundings
) -> dict[str, Any]:
    """The OCI runtime configuration."""
    context = security.effective_context(pod, container)
    privileged = bool(context.get("privileged"))
    held = security.capabilities(context, around.available)
    variables = {"PATH": PATH, "HOSTNAME": around.hostname, **env}
    return {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": False,
            "user": security.user(context),
            "args": list(args),
            "env": [f"{name}={value}" for name, value in variables.items()],
            "cwd": container.get("workingDir") or "/",
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), held),
            "noNewPrivileges": context.get("allowPrivilegeEscalation") is False,
        },
        "root": {"path": str(around.root), "readonly": bool(context.get("readOnlyRootFilesystem"))},
        "hostname": around.hostname,
        "mounts": _mounts(around, privileged=privileged),
        "annotations": {
            "io.kubernetes.cri.container-type": "container",
            "io.kubernetes.cri.container-name": container["name"],
            "io.kubernetes.cri.sandbox-name": pod["metadata"]["name"],
            "io.kubernetes.cri.sandbox-namespace": pod["metadata"]["namespace"],
            "io.kubernetes.cri.sandbox-uid": pod["metadata"]["uid"],
        },
        "linux": {
            "namespaces": _namespaces(around),
            "cgroupsPath": around.cgroup,
            "resources": _resources(container, around, privileged=privileged),
            "devices": list(around.devices),
            **({} if privileged else {"maskedPaths": security.MASKED.split(), "readonlyPaths": security.READ_ONLY.split()}),
        },
    }


def _namespaces(around: Surroundings) -> list[dict[str, str]]:
    kinds = ["pid", "ipc", "uts", "mount"] + (["cgroup"] if around.unified_cgroups else [])
    found = [{"type": kind} for kind in kinds]
    return found + ([{"type": "network", "path": str(around.network)}] if around.network else [])


def _mounts(around: Surroundings, *, privileged: bool) -> list[dict[str, Any]]:
    writable = "rw" if privileged else "ro"
    dev = ["nosuid", "strictatime", "mode=755", "size=65536k"]
    first = [
        _mount("/proc", "proc", "proc", "nosuid", "noexec", "nodev"),
        _mount("/dev", "tmpfs", "tmpfs", *dev),
        _mount("/dev/pts", "devpts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
        _mount("/dev/mqueue", "mqueue", "mqueue", "nosuid", "noexec", "nodev"),
        _mount("/sys", "sysfs", "sysfs", "nosuid", "noexec", "nodev", writable),
        _mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid", "noexec", "nodev", "relatime", writable),
    ]
    if all(bind.target != "/dev/shm" for bind in around.binds):  # noqa: S108 - the container's own
        first.append(_mount("/dev/shm", "tmpfs", "shm", "nosuid", "noexec", "nodev", "mode=1777", "size=65536k"))  # noqa: S108
    # A mount on a directory hides what was mounted in it before, so the outer ones come first.
    ordered = sorted(around.binds, key=lambda bind: bind.target.rstrip("/").count("/"))
    return first + [
        _mount(bind.target, "bind", str(bind.source), "rbind", bind.propagation, "ro" if bind.read_only else "rw")
        for bind in ordered
    ]


def _mount(target: str, kind: str, source: str, *options: str) -> dict[str, Any]:
    return {"destination": target, "type": kind, "source": source, "options": list(options)}


def _resources(container: Mapping[str, Any], around: Surroundings, *, privileged: bool) -> dict[str, Any]:
    wanted = container.get("resources") or {}
    limits, requests = wanted.get("limits") or {}, wanted.get("requests") or wanted.get("limits") or {}
    found: dict[str, Any] = {"devices": _device_rules(around.devices, privileged=privileged)}
    # What nobody asked for is not set: a machine that lends no such controller runs the container all the same.
    cpu = {"shares": max(2, int(parse(requests["cpu"]) * 1024))} if "cpu" in requests else {}
    if "cpu" in limits:
        cpu |= {"quota": max(1000, int(parse(limits["cpu"]) * _CPU_PERIOD)), "period": _CPU_PERIOD}
    if "memory" in limits:
        found["memory"] = {"limit": int(parse(limits["memory"]))}
    return found | ({"cpu": cpu} if cpu else {})


def _device_rules(devices: Sequence[Mapping[str, Any]], *, privileged: bool) -> list[dict[str, Any]]:
    if privileged:
        return [{"allow": True, "access": "rwm"}]
    return [{"allow": False, "access": "rwm"}] + [
        {"allow": True, "type": device["type"], "major": device["major"], "minor": device["minor"], "access": "rwm"}
        for device in devices
    ]
