"""What a registry can do, for one repository: blobs, manifests and tags."""

import json
import re
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import urljoin

from chrek_agent.store.chunking import Buffer
from chrek_agent.store.oci.client import Answer, Client
from chrek_agent.store.oci.manifests import EMPTY, MEDIA_TYPE, Layer, Object, digest_of, dump_manifest, parse_manifest
from chrek_agent.store.oci.upload import Upload
from chrek_agent.store.where import Repository

_PAGE: Final = 1000
_ACCEPT: Final = {"Accept": MEDIA_TYPE}
_DIGEST: Final = "docker-content-digest"
_NEXT: Final = re.compile(r'<([^>]+)>\s*;\s*rel="?next"?')


class Registry:
    """One repository. Methods raise StorageError when it refuses or does not answer."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._has_empty = False
        self._free = threading.Condition()
        self._uploading: set[str] = set()

    def upload(self, content: Buffer) -> Layer:
        """Uploads a blob."""
        digest = digest_of(content)
        with self._alone(digest):
            Upload(self.client, digest, content).run()
        return Layer(digest, len(content))

    def mount(self, layer: Layer, other: Repository) -> bool:
        """Has the registry take a blob from another repository of its own; False if that is not possible."""
        if other.host != self.client.place.host:
            return False
        self.client.read_from(other.name)
        answer = self.client.ask("POST", f"blobs/uploads/?mount={layer.digest}&from={other.name}", good=(201, 202, 404, 405))
        if answer.status == 202:
            # It began an upload in place of that.
            self.client.ask("DELETE", answer.headers["location"], good=(202, 204, 404, 405))
        return answer.status == 201

    def tag(self, key: str, tag: str, layers: Sequence[Layer]) -> None:
        """Makes an object of uploaded layers visible; what had the tag before is deleted."""
        self._put_empty()
        before = self._look(tag)
        content = dump_manifest(key, layers, _date(before))
        typed = {"Content-Type": MEDIA_TYPE}
        patience = self.client.patience
        for attempt in range(1, patience.retries + 2):
            # 400: somebody was just uploading a blob with the same content, which some registries do not take well.
            good = (201, 400) if attempt <= patience.retries else (201,)
            if self.client.ask("PUT", f"manifests/{tag}", body=content, headers=typed, good=good).status == 201:
                break
            time.sleep(patience.wait(attempt))
        self._delete(before)

    def has(self, tag: str) -> bool:
        """Whether there is such a tag."""
        return self._look(tag).status == 200

    def find(self, tag: str) -> Object | None:
        """What a tag names; None if there is none, or it is not ours."""
        answer = self.client.ask("GET", f"manifests/{tag}", headers=_ACCEPT, good=(200, 404))
        try:
            return None if answer.status == 404 else parse_manifest(answer.content)
        except ValueError:
            return None

    def remove(self, tag: str) -> None:
        """Deletes what a tag names, if there is something. The registry's own garbage collection frees the content."""
        self._delete(self._look(tag))

    def tags(self) -> list[str]:
        """All of them, also of a registry that does not say where the next page is: what is not listed would be swept."""
        path: str | None = f"tags/list?n={_PAGE}"
        found: set[str] = set()
        while path is not None:
            answer = self.client.ask("GET", path, good=(200, 404))
            if answer.status == 404:
                break  # Nothing has been put yet.
            page = json.loads(answer.content).get("tags") or []
            more = len(page) >= _PAGE and not found.issuperset(page)
            found.update(page)
            link = _NEXT.search(answer.headers.get("link", ""))
            path = urljoin(answer.url, link[1]) if link else f"tags/list?n={_PAGE}&last={page[-1]}" if more else None
        return sorted(found)

    def read_into(self, layer: Layer, offset: int, into: memoryview) -> None:
        """A part of a layer, as much as there is room for; FileNotFoundError if the layer is not there."""
        if self.client.reach(f"blobs/{layer.digest}", offset, into):
            return
        asked = {"Range": f"bytes={offset}-{offset + len(into) - 1}"}
        answer = self.client.ask("GET", f"blobs/{layer.digest}", headers=asked, good=(200, 206, 404), into=into, skip=offset)
        if answer.status == 404:
            raise FileNotFoundError(2, "a part of it is not in the store", f"{self.client.place.url} {layer.digest}")
        if answer.length != len(into):
            raise self.client.error("it sent another number of bytes than it was asked for")

    def _put_empty(self) -> None:
        if not self._has_empty:
            self.upload(EMPTY)
            self._has_empty = True

    @contextmanager
    def _alone(self, digest: str) -> Iterator[None]:
        """No other thread uploads the same meanwhile."""
        with self._free:
            self._free.wait_for(lambda: digest not in self._uploading)
            self._uploading.add(digest)
        try:
            yield
        finally:
            with self._free:
                self._uploading.discard(digest)
                self._free.notify_all()

    def _look(self, tag: str) -> Answer:
        return self.client.ask("HEAD", f"manifests/{tag}", headers=_ACCEPT, good=(200, 404))

    def _delete(self, found: Answer) -> None:
        """Registries delete manifests by their digests only; ours are all different."""
        if found.status == 200:
            answer = self.client.ask("DELETE", f"manifests/{found.headers[_DIGEST]}", good=(200, 202, 404, 405))
            if answer.status == 405:
                raise self.client.error("it deletes nothing: allow it (of Docker's registry, storage.delete.enabled)")


def _date(answer: Answer) -> datetime:
    """When it was given, by the registry's clock; ours where it does not say."""
    try:
        return parsedate_to_datetime(answer.headers["date"]).astimezone(UTC)
    except (KeyError, ValueError):
        return datetime.now(UTC)
