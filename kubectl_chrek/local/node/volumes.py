"""A pod's volumes: directories below the kubelet's, laid out as it does, and how containers see them."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from kubectl_chrek.local.node import mounts, payload
from kubectl_chrek.local.node.config import NodeConfig, absolute
from kubectl_chrek.local.node.environment import ConfigError, Facts, Objects, expand
from kubectl_chrek.local.node.oci import Bind
from kubectl_chrek.local.quantity import parse

_PLUGINS: Final = {
    "emptyDir": "kubernetes.io~empty-dir",
    "configMap": "kubernetes.io~configmap",
    "secret": "kubernetes.io~secret",
    "projected": "kubernetes.io~projected",
    "downwardAPI": "kubernetes.io~downward-api",
}
_PROPAGATION: Final = {"HostToContainer": "rslave", "Bidirectional": "rshared"}


def prepare(config: NodeConfig, pod: Mapping[str, Any], objects: Objects, facts: Facts) -> dict[str, Path]:
    """Makes all volumes; returns where they are, by name. May be called again after it failed.

    Raises:
        ConfigError: A volume names what is not there, or is of a kind that this node does not have.
    """
    group = (pod["spec"].get("securityContext") or {}).get("fsGroup")
    return {volume["name"]: _prepare_one(config, pod, volume, objects, facts, group) for volume in pod["spec"].get("volumes") or ()}


def binds(container: Mapping[str, Any], places: Mapping[str, Path], values: Mapping[str, str]) -> list[Bind]:
    """What the container's volumeMounts become.

    Raises:
        ConfigError: A mount names no volume, or a subPath that leaves it.
    """
    found = []
    for mount in container.get("volumeMounts") or ():
        if mount["name"] not in places:
            raise ConfigError(f"volumeMounts names volume {mount['name']}, which the pod does not have")
        below = mount.get("subPath") or expand(mount.get("subPathExpr") or "", values)
        source = _below(places[mount["name"]], below) if below else places[mount["name"]]
        propagation = _PROPAGATION.get(mount.get("mountPropagation", ""), "rprivate")
        found.append(Bind(source, mount["mountPath"], bool(mount.get("readOnly")), propagation))
    return found


def host_binds(config: NodeConfig) -> list[Bind]:
    """The configured paths of the host."""
    return [Bind(absolute(path), str(path), read_only=True) for path in config.host_mounts]


def remove(config: NodeConfig, uid: str) -> None:
    """Takes the pod's volumes and directories away; claims and host paths stay."""
    directory = config.pod_directory(uid)
    mounts.unmount_below(absolute(directory))
    shutil.rmtree(directory, ignore_errors=True)


def _prepare_one(
    config: NodeConfig, pod: Mapping[str, Any], volume: Mapping[str, Any], objects: Objects, facts: Facts, group: int | None
) -> Path:
    if "hostPath" in volume:
        return _host_path(volume["hostPath"])
    if "persistentVolumeClaim" in volume:
        claim = f"{pod['metadata']['namespace']}_{volume['persistentVolumeClaim']['claimName']}"
        place = config.claims / claim
        place.mkdir(parents=True, exist_ok=True)
        return place
    kind = next((kind for kind in _PLUGINS if kind in volume), "")
    if not kind:
        raise ConfigError(f"volume {volume['name']} is of a kind that this node does not have")
    directory = config.pod_directory(pod["metadata"]["uid"]) / "volumes" / _PLUGINS[kind] / str(volume["name"])
    if not directory.exists():
        content = {} if kind == "emptyDir" else payload.files(pod, volume, objects, facts)
        directory.mkdir(parents=True)
        if kind == "emptyDir":
            _empty(directory, volume["emptyDir"] or {}, group)
        else:
            payload.write(directory, content)
    return directory


def _empty(directory: Path, options: Mapping[str, Any], group: int | None) -> None:
    if options.get("medium") == "Memory":
        size = f",size={int(parse(options['sizeLimit']))}" if options.get("sizeLimit") else ""
        mounts.mount("tmpfs", directory, "tmpfs", 0, f"mode=777{size}")
    directory.chmod(0o777)
    if group is not None:
        os.chown(directory, 0, group)
        directory.chmod(0o2777)


def _host_path(options: Mapping[str, Any]) -> Path:
    path, kind = Path(options["path"]), options.get("type") or ""
    if kind == "DirectoryOrCreate":
        path.mkdir(mode=0o755, parents=True, exist_ok=True)
    elif kind == "FileOrCreate" and not path.exists():
        path.touch(mode=0o644)
    elif not kind and not path.exists():
        path.mkdir(mode=0o755, parents=True)
    wanted = {"Directory": path.is_dir, "DirectoryOrCreate": path.is_dir, "File": path.is_file, "FileOrCreate": path.is_file}
    if kind in wanted and not wanted[kind]():
        raise ConfigError(f"hostPath type check failed: {path} is not a {kind.removesuffix('OrCreate').lower()}")
    if not path.exists():
        raise ConfigError(f"hostPath type check failed: {path} does not exist")
    return absolute(path)


def _below(volume: Path, below: str) -> Path:
    """A path in a volume; a container that may write there must not lead us out of it by a link."""
    top = absolute(volume)
    path = absolute(top / below)
    if not path.is_relative_to(top):
        raise ConfigError(f"subPath {below} leaves the volume")
    if not path.exists():
        path.mkdir(parents=True)
    return path
