"""The files of volumes that hold API objects: what is in them, and writing them as the kubelet does."""

import base64
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from kubectl_chrek.local.node.environment import ConfigError, Facts, Objects, Reference, field, resource


class File(NamedTuple):
    """A file to be."""

    content: bytes
    mode: int


Files = dict[str, File]
_MODE = 0o644


def volume_references(pod: Mapping[str, Any]) -> set[Reference]:
    """The ConfigMaps and Secrets that the pod's volumes show."""
    return {reference for volume in pod["spec"].get("volumes") or () for reference in _references(volume)}


def files(pod: Mapping[str, Any], volume: Mapping[str, Any], objects: Objects, facts: Facts) -> Files:
    """The files of a configMap, secret, downwardAPI or projected volume, by path.

    Raises:
        ConfigError: An object or a key is missing and not optional.
    """
    if "projected" in volume:
        found: Files = {}
        mode = volume["projected"].get("defaultMode", _MODE)
        for source in volume["projected"].get("sources") or ():
            found |= _source_files(pod, source, objects, facts, mode)
        return found
    kind = next(kind for kind in ("configMap", "secret", "downwardAPI") if kind in volume)
    return _source_files(pod, volume, objects, facts, volume[kind].get("defaultMode", _MODE))


def write(directory: Path, content: Files) -> None:
    """Writes the files below a link `..data`, so that all of them change at once when the link does."""
    version = directory / "..1"
    for name, file in content.items():
        path = version / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.content)
        path.chmod(file.mode)
    version.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o755)
    (directory / "..data").symlink_to(version.name)
    for name in sorted({name.split("/")[0] for name in content}):
        (directory / name).symlink_to(os.path.join("..data", name))  # noqa: PTH118 - a relative link


def _source_files(pod: Mapping[str, Any], source: Mapping[str, Any], objects: Objects, facts: Facts, mode: int) -> Files:
    if "downwardAPI" in source:
        return {
            item["path"]: File(_downward(pod, item, facts), item.get("mode", mode))
            for item in source["downwardAPI"].get("items") or ()
        }
    if "serviceAccountToken" in source:
        # The node has no issuer: whoever only checks that the file is there is served, whoever uses it is refused.
        return {source["serviceAccountToken"]["path"]: File(b"", 0o600)}
    kind, given = ("ConfigMap", source["configMap"]) if "configMap" in source else ("Secret", source["secret"])
    name = given.get("name") or given.get("secretName")
    found = objects.get(Reference(kind, name))
    if found is None and not given.get("optional"):
        raise ConfigError(f'{kind.lower()} "{name}" not found')
    data = _bytes(found or {})
    if not given.get("items"):
        return {key: File(value, mode) for key, value in data.items()}
    chosen = {item["path"]: (item["key"], item.get("mode", mode)) for item in given["items"]}
    missing = [key for key, _ in chosen.values() if key not in data]
    if missing and not given.get("optional"):
        raise ConfigError(f"references non-existent {kind.lower()} key: {missing[0]}")
    return {path: File(data[key], own) for path, (key, own) in chosen.items() if key in data}


def _downward(pod: Mapping[str, Any], item: Mapping[str, Any], facts: Facts) -> bytes:
    if "fieldRef" in item:
        return field(pod, item["fieldRef"]["fieldPath"], facts).encode()
    return resource(pod, {}, item["resourceFieldRef"]).encode()


def _bytes(found: Mapping[str, Any]) -> dict[str, bytes]:
    if found.get("kind") == "Secret":
        return {key: base64.b64decode(value) for key, value in (found.get("data") or {}).items()}
    text = {key: value.encode() for key, value in (found.get("data") or {}).items()}
    return text | {key: base64.b64decode(value) for key, value in (found.get("binaryData") or {}).items()}


def _references(volume: Mapping[str, Any]) -> Iterator[Reference]:
    for source in (volume, *((volume.get("projected") or {}).get("sources") or ())):
        if "configMap" in source:
            yield Reference("ConfigMap", source["configMap"]["name"])
        if "secret" in source:
            yield Reference("Secret", source["secret"].get("secretName") or source["secret"]["name"])
