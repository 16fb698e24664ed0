"""A commit that outlives its capture's deadline leaves no artifact, whenever it comes to its end."""

import threading

import pytest

from chrek_agent.errors import ArtifactError
from chrek_agent.store.local import DirectoryBackend
from chrek_agent.store.store import Store

HASH = "5941a4cb3c363457"


class Slow(DirectoryBackend):
    """Stops before or after it has written the manifest, until a test lets it go on."""

    def __init__(self, base, after):
        super().__init__(base)
        self.after, self.reached, self.resume = after, threading.Event(), threading.Event()

    def put(self, key, data, *, if_absent=False):
        manifest = key.endswith("/manifest.json")
        if manifest and not self.after:
            self._stop()
        super().put(key, data, if_absent=if_absent)
        if manifest and self.after:
            self._stop()

    def _stop(self):
        self.reached.set()
        assert self.resume.wait(30)


@pytest.mark.parametrize("after", [False, True])
def test_a_commit_that_is_abandoned_on_its_way_takes_itself_back(tmp_path, make_fields, after):
    backend = Slow(tmp_path / "store", after)
    store = Store(backend, tmp_path / "scratch")
    writer = store.begin("g-1")
    (tmp_path / "file").write_bytes(b"content")
    writer.add_file("rootfs.tar", tmp_path / "file")
    failures = []

    def commit():
        try:
            writer.commit(make_fields())
        except (ArtifactError, RuntimeError) as error:  # RuntimeError: the pool has gone.
            failures.append(error)

    thread = threading.Thread(target=commit)
    thread.start()
    assert backend.reached.wait(30)
    writer.abandon()
    backend.resume.set()
    thread.join(30)
    assert failures
    assert [entry.key for entry in backend.list(HASH)] == []
    assert list((tmp_path / "scratch").iterdir()) == []


def test_an_artifact_that_is_committed_is_not_abandoned(tmp_path, make_fields):
    store = Store.at(tmp_path / "store")
    with store.begin("g-1") as writer:
        (tmp_path / "file").write_bytes(b"content")
        writer.add_file("rootfs.tar", tmp_path / "file")
        manifest, digest = writer.commit(make_fields())
        writer.abandon()
    assert store.verify(HASH, "g-1", digest) == manifest
