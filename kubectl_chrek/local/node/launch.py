"""From a container of a pod to a process: its files, its configuration, runc."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from kubectl_chrek.local.node import cgroups, devices, environment, oci, security, snapshots, volumes
from kubectl_chrek.local.node.config import IMAGE, absolute
from kubectl_chrek.local.node.context import Context
from kubectl_chrek.local.node.environment import ConfigError

_TERMINATION: Final = "/dev/termination-log"
_TERMINATION_BYTES: Final = 4096


def image_problem(image: str) -> str:
    """Why the node has no such image; empty when it has."""
    name = image.partition("@")[0]
    head, _, last = name.rpartition("/")
    if f"{head}/{last.partition(':')[0]}" == IMAGE:
        return ""
    return f'cannot pull "{image}": the one-machine cluster has only {IMAGE}, this machine\'s own file system'


def refusal(pod: Mapping[str, Any], container: Mapping[str, Any]) -> str:
    """What of the pod this node cannot do; empty when it can do all."""
    spec = pod["spec"]
    wanted = {word: spec.get(word) for word in ("hostPID", "hostIPC", "shareProcessNamespace")}
    wanted["lifecycle.postStart"] = (container.get("lifecycle") or {}).get("postStart")
    wanted["volumeDevices"] = container.get("volumeDevices")
    sidecars = [one for one in spec.get("initContainers") or () if one.get("restartPolicy")]
    wanted["restartPolicy of an init container"] = sidecars
    found = [word for word, value in wanted.items() if value]
    return f"the one-machine cluster does not support {', '.join(found)}" if found else ""


async def build(context: Context, container: Mapping[str, Any], identifier: str) -> dict[str, Any]:
    """Prepares the container's files and returns its OCI configuration.

    Raises:
        ConfigError: The configuration names what is not there, or what this node cannot do.
    """
    problem = refusal(context.pod, container)
    if problem:
        raise ConfigError(problem)
    objects = await context.fetch(environment.references({"spec": {"containers": [container]}}))
    values = environment.environment(context.pod, container, objects, context.facts)
    args = environment.arguments(container, values)
    binds = [
        *volumes.host_binds(context.config),
        *pod_binds(context),
        *volumes.binds(container, context.places, values),
        _termination_bind(context, container),
    ]
    root = snapshots.mount_root(context.config, identifier)
    return oci.config(context.pod, container, args, values, _surroundings(context, container, identifier, root, binds))


def write_pod_files(context: Context) -> None:
    """Writes the pod's /etc/hosts, /etc/hostname and /etc/resolv.conf."""
    directory = context.directory
    directory.mkdir(parents=True, exist_ok=True)
    name = hostname(context.pod)
    address = context.facts.pod_ip
    (directory / "etc-hosts").write_text(f"127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n{address}\t{name}\n")
    (directory / "hostname").write_text(f"{name}\n")
    host = Path("/etc/resolv.conf")
    (directory / "resolv.conf").write_text(host.read_text() if host.exists() else "")


def pod_binds(context: Context) -> list[oci.Bind]:
    """The pod's own files in /etc."""
    names = {"etc-hosts": "/etc/hosts", "hostname": "/etc/hostname", "resolv.conf": "/etc/resolv.conf"}
    return [oci.Bind(absolute(context.directory / name), target) for name, target in names.items()]


def hostname(pod: Mapping[str, Any]) -> str:
    """The name that the pod's containers see."""
    return str(pod["spec"].get("hostname") or pod["metadata"]["name"])[:63].rstrip("-.")


def termination_message(context: Context, container: Mapping[str, Any]) -> str:
    """What the container left in its termination log."""
    path = _termination_file(context, container)
    return path.read_bytes()[:_TERMINATION_BYTES].decode(errors="replace") if path.exists() else ""


def _surroundings(
    context: Context, container: Mapping[str, Any], identifier: str, root: Path, binds: list[oci.Bind]
) -> oci.Surroundings:
    config = context.config
    privileged = security.effective_context(context.pod, container).get("privileged")
    gpus = int(((container.get("resources") or {}).get("limits") or {}).get("nvidia.com/gpu", 0))
    taken = context.services.gpus.take(f"{context.uid}/{container['name']}", gpus)
    return oci.Surroundings(
        root=root,
        hostname=hostname(context.pod),
        cgroup=f"{cgroups.pod_path(config, context.pod)}/{identifier}",
        unified_cgroups=cgroups.is_unified(config.cgroup_root),
        network=context.network.namespace if context.network else None,
        available=context.services.capabilities,
        binds=binds,
        devices=devices.everything() if privileged else taken,
    )


def _termination_bind(context: Context, container: Mapping[str, Any]) -> oci.Bind:
    path = _termination_file(context, container)
    shutil.rmtree(path.parent, ignore_errors=True)
    path.parent.mkdir(parents=True)
    path.touch()
    os.chmod(path, 0o666)  # noqa: S103, PTH101 - whoever the container runs as writes it
    return oci.Bind(absolute(path), container.get("terminationMessagePath") or _TERMINATION)


def _termination_file(context: Context, container: Mapping[str, Any]) -> Path:
    return context.directory / "containers" / str(container["name"]) / "termination-log"
