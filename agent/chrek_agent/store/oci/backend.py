"""A repository of a registry as a backend: each object is a tagged manifest, its content the manifest's layers.

Nothing is to be seen before the manifest is put. Registries have no conditional put: with `if_absent` we look first, which
is enough for manifests of artifacts, as generations have unique names.
"""

import mmap
import secrets
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Final

from chrek_agent.store.backend import Entry
from chrek_agent.store.chunking import Buffer
from chrek_agent.store.index import PACKS
from chrek_agent.store.oci.client import Client
from chrek_agent.store.oci.login import Login, read_login
from chrek_agent.store.oci.manifests import Layer, Object
from chrek_agent.store.oci.registry import Registry
from chrek_agent.store.oci.tags import NOTE, to_key, to_tag
from chrek_agent.store.patience import Patience
from chrek_agent.store.where import Repository

PART: Final = 8 << 20
"""A layer of an object has at most so many bytes: what has to be sent again when a connection is cut.

As each of 8 threads writes a pack of its own, with a layer on its way and one that fills up, that is 128 MiB.
"""
_AT_ONCE: Final = 16


class RegistryBackend:
    """Objects in a repository.

    Args:
        place: Where.
        login: None: what the docker config says.
        patience: With a registry that does not answer well.
    """

    def __init__(self, place: Repository, *, login: Login | None = None, patience: Patience | None = None) -> None:
        self._url = place.url
        self._registry = Registry(Client(place, read_login(place.host) if login is None else login, patience or Patience()))
        self._lock = threading.Lock()
        self._fixed: dict[str, Object] = {}

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> None:
        """Uploads the content, then the manifest; what it replaces is deleted."""
        tag = to_tag(key)
        layers = [self._registry.upload(data[start : start + PART]) for start in range(0, len(data), PART)]
        if not if_absent:
            self._registry.tag(key, tag, layers)
            return
        with self._lock:
            if self._registry.has(tag):
                raise FileExistsError(f"{self._url} has {key} already")
            self._registry.tag(key, tag, layers)

    def writer(self, key: str) -> "_PartsWriter":
        """Begins a large object."""
        to_tag(key)
        return _PartsWriter(self._registry, key)

    def read(self, key: str, offset: int, length: int) -> bytes:
        """One ranged request for each layer."""
        content = bytearray(max(0, min(length, self._object(key).size - offset)))
        self.read_into(key, offset, memoryview(content))
        return bytes(content)

    def read_into(self, key: str, offset: int, into: memoryview) -> int:
        """One ranged request for each layer."""
        done = 0
        for layer, start, length in self._object(key).ranges(offset, len(into)):
            self._registry.read_into(layer, start, into[done : done + length])
            done += length
        return done

    def size(self, key: str) -> int:
        """Bytes of an object; asked anew, as another agent may have deleted it."""
        with self._lock:
            self._fixed.pop(key, None)
        return self._object(key).size

    def list(self, prefix: str) -> list[Entry]:
        """All tags, and the manifests behind those that are asked for; packs' are read once."""
        keys = [key for key in map(to_key, self._registry.tags()) if key is not None and key.startswith(prefix)]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            found = pool.map(self._entry, keys)
        return sorted(entry for entry in found if entry is not None)

    def delete(self, key: str) -> None:
        """Deletes the manifest."""
        tag = to_tag(key)
        with self._lock:
            self._fixed.pop(key, None)
        self._registry.remove(tag)

    def mount(self, other: "RegistryBackend", key: str) -> bool:
        """Makes an object of another repository one of this, without its content; False where the registry cannot.

        Raises:
            FileNotFoundError: The other has none.
            StorageError: The registry does not answer.
        """
        layers, place = other._object(key).layers, other._registry.client.place
        if not all(self._registry.mount(layer, place) for layer in layers):
            return False
        self._registry.tag(key, to_tag(key), layers)
        return True

    def local(self, key: str) -> Path | None:
        """There are no files here."""
        to_tag(key)
        return None

    def prune(self, before: datetime) -> int:
        """Removes the notes of writers that have died. What they uploaded the registry frees, as no manifest names it."""
        count = 0
        for tag in self._registry.tags():
            if tag.startswith(NOTE):
                found = self._registry.find(tag)
                if found is not None and found.created < before:
                    self._registry.remove(tag)
                    count += 1
        return count

    def _object(self, key: str) -> Object:
        """Packs never change: what was found of them once counts."""
        found = self._fixed.get(key) or self._registry.find(to_tag(key))
        if found is None:
            raise FileNotFoundError(2, "no such object in the store", f"{self._url} {key}")
        if key.startswith(PACKS):
            with self._lock:
                self._fixed[key] = found
        return found

    def _entry(self, key: str) -> Entry | None:
        with suppress(FileNotFoundError):  # Deleted just now.
            found = self._object(key)
            return Entry(key, found.size, found.created)
        return None


class _PartsWriter:
    """Uploads each layer while the next one fills up. Each ends where a piece does, so that a chunk is read by one request."""

    def __init__(self, registry: Registry, key: str) -> None:
        self._registry = registry
        self._key = key
        self._filling, self._sending = memoryview(mmap.mmap(-1, PART)), memoryview(mmap.mmap(-1, PART))
        self._filled = 0
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="layers")
        self._uploads: list[Future[Layer]] = []
        self._note = f"{NOTE}{secrets.token_hex(16)}"
        registry.tag(key, self._note, [])

    def write(self, *pieces: Buffer) -> None:
        """Waits while the layer before is on its way."""
        if self._filled + sum(map(len, pieces)) > PART:
            self._flush()
        for piece in pieces:
            rest = memoryview(piece)
            while rest:
                if self._filled == PART:
                    self._flush()
                count = min(len(rest), PART - self._filled)
                self._filling[self._filled : self._filled + count] = rest[:count]
                self._filled += count
                rest = rest[count:]

    def close(self) -> None:
        """Uploads the rest, and makes the object visible."""
        self._flush()
        self._registry.tag(self._key, to_tag(self._key), [upload.result() for upload in self._uploads])
        self.abort()

    def abort(self) -> None:
        """Removes the note; layers that no manifest names the registry frees."""
        self._pool.shutdown(cancel_futures=True)
        note, self._note = self._note, ""
        if note:
            self._registry.remove(note)

    def _flush(self) -> None:
        if not self._filled:
            return
        if self._uploads:
            self._uploads[-1].result()
        self._filling, self._sending = self._sending, self._filling
        self._uploads.append(self._pool.submit(self._registry.upload, self._sending[: self._filled]))
        self._filled = 0
