"""OCI manifests of objects: an object is a manifest whose layers, one after the other, are its content."""

import hashlib
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from chrek_agent.store.chunking import Buffer
from chrek_agent.store.index import INDEX_END, PACK_END
from chrek_agent.store.model import MANIFEST

MEDIA_TYPE: Final = "application/vnd.oci.image.manifest.v1+json"
ARTIFACT_TYPE: Final = "application/vnd.chrek.object.v2"
EMPTY: Final = b"{}"
_EMPTY_TYPE: Final = "application/vnd.oci.empty.v1+json"
_CREATED: Final = "org.opencontainers.image.created"
_TITLE: Final = "org.opencontainers.image.title"
_TOKEN: Final = "io.chrek.token"  # noqa: S105 - the name of an annotation
_TYPES: Final = ((PACK_END, "pack"), (INDEX_END, "index"), (f"/{MANIFEST}", "manifest"))


@dataclass(frozen=True, slots=True)
class Layer:
    """A part of an object."""

    digest: str
    size: int


@dataclass(frozen=True, slots=True)
class Object:
    """What a manifest says; `created` by the registry's clock."""

    layers: tuple[Layer, ...]
    created: datetime

    @property
    def size(self) -> int:
        """Bytes of its content."""
        return sum(layer.size for layer in self.layers)

    def ranges(self, offset: int, length: int) -> list[tuple[Layer, int, int]]:
        """The layers that a range of the content is in, with the offset and the length in each."""
        found, position = [], 0
        for layer in self.layers:
            start, end = max(offset, position), min(offset + length, position + layer.size)
            if start < end:
                found.append((layer, start - position, end - start))
            position += layer.size
        return found


def digest_of(content: Buffer) -> str:
    """As registries name content."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def dump_manifest(key: str, layers: Sequence[Layer], created: datetime) -> bytes:
    """A manifest unlike any other, so that deleting one by its digest deletes no other tag."""
    kind = next((name for end, name in _TYPES if key.endswith(end)), "object")
    described = [
        {"mediaType": f"application/vnd.chrek.{kind}.v2", "digest": layer.digest, "size": layer.size, "annotations": {_TITLE: key}}
        for layer in layers
    ]
    empty = {"mediaType": _EMPTY_TYPE, "digest": digest_of(EMPTY), "size": len(EMPTY)}
    manifest: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": MEDIA_TYPE,
        "artifactType": ARTIFACT_TYPE,
        "config": empty,
        "layers": described,
        "annotations": {_CREATED: created.isoformat(), _TITLE: key, _TOKEN: secrets.token_hex(16)},
    }
    return json.dumps(manifest).encode()


def parse_manifest(content: bytes) -> Object:
    """Raises ValueError for what is none of ours."""
    try:
        manifest = json.loads(content)
        layers = tuple(Layer(str(layer["digest"]), int(layer["size"])) for layer in manifest["layers"])
        return Object(layers, datetime.fromisoformat(manifest["annotations"][_CREATED]).astimezone(UTC))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"it has no {error}") from error
