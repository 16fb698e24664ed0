"""Stores that answer badly: tried again a bounded number of times, never half visible, and one line says why it does not work."""

import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from faulty_proxy import PATIENCE, Fault
from one_artifact import HASH, capture, restore

from chrek_agent.errors import StoreError
from chrek_agent.store import s3uploads
from chrek_agent.store.chunking import CHUNK
from chrek_agent.store.oci.backend import RegistryBackend
from chrek_agent.store.oci.login import Login
from chrek_agent.store.patience import Patience
from chrek_agent.store.refusals import StorageError
from chrek_agent.store.store import Store
from chrek_agent.store.where import Repository
from kubectl_chrek.api.names import Cause

QUICK = Patience(retries=1, total=5, connect=1, request=0.3, pause=0.01)


@dataclass
class Lab:
    """A store behind a proxy, and the same store past it."""

    proxy: Any
    near: Any
    far: Any


@pytest.fixture(params=["oci", "s3-moto", "s3-seaweedfs"])
def lab(request, servers, make_proxy):
    if request.param == "oci":
        near = servers.oci()
        proxy = make_proxy(servers.registry)
        place = Repository(proxy.host, near._registry.client.place.name, plain_http=True)
        return Lab(proxy, near, RegistryBackend(place, login=Login(), patience=PATIENCE))
    near = servers.s3_moto() if request.param == "s3-moto" else servers.s3_seaweedfs()
    proxy = make_proxy((servers.moto if request.param == "s3-moto" else servers.seaweedfs).removeprefix("http://"))
    far = servers.s3(f"http://{proxy.host}", prefix=near.bucket.prefix, patience=PATIENCE)
    return Lab(proxy, near, far)


@pytest.mark.parametrize("kind", ["answer", "drop", "lose", "break"])
def test_what_passes_is_waited_for(lab, make_fields, tmp_path, kind):
    content = os.urandom(4 * CHUNK)
    lab.proxy.first(2, Fault(kind))
    store = Store(lab.far, tmp_path / "scratch")
    digest = capture(store, make_fields, content)
    assert restore(store, digest) == content
    lab.proxy.plan = lambda *_: None
    assert store.verify(HASH, "g-1", digest)


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("kind", ["cut", "flip"])
def test_what_was_damaged_on_its_way_is_asked_for_again(lab, make_fields, tmp_path, kind, ahead):
    content = os.urandom(4 * CHUNK)
    digest = capture(Store(lab.near, tmp_path / "scratch"), make_fields, content)
    seen = set()

    def plan(method, path, headers):
        key = path, headers.get("Range")
        if method != "GET" or key in seen or "bytes=" not in str(key[1]):
            return None
        seen.add(key)
        first, last = map(int, key[1].partition("=")[2].split("-"))
        if ahead and last - first < CHUNK:
            return None  # It is asked for once more, by itself.
        return Fault(kind) if not str(key[1]).startswith("bytes=0-6") else None

    store = Store(lab.far, tmp_path / "other")
    with store.open(HASH, "g-1", digest) as artifact:
        lab.proxy.plan = plan
        chunks = list(artifact.chunks(artifact.manifest.memory[0]))
        if ahead:
            artifact.expect(chunks)
        found = b"".join(bytes(artifact.fetch(chunk)) for chunk in chunks)
    assert found == content
    assert len(seen) >= (1 if ahead else 4)


def test_an_answer_that_is_short_is_no_content(lab):
    lab.near.put("packs/a.pack", b"0123456789")
    lab.far.size("packs/a.pack")
    lab.proxy.plan = lambda method, *_: Fault("short") if method == "GET" else None
    with pytest.raises(OSError, match=r"(?i)cut|number of bytes|end|pars"):
        lab.far.read("packs/a.pack", 0, 10)


@pytest.mark.parametrize("kind", ["answer", "drop"])
def test_what_does_not_pass_is_given_up_soon(lab, kind):
    lab.proxy.plan = lambda *_: Fault(kind)
    with pytest.raises(StorageError, match="again and again") as caught:
        lab.far.put("key", b"x")
    assert len(lab.proxy.requests) == PATIENCE.retries + 1
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("after", [1, 4, 8])
def test_a_store_that_goes_away_during_a_capture_shows_nothing_of_it(lab, make_fields, tmp_path, after):
    store = Store(lab.far, tmp_path / "scratch")
    writes = []

    def plan(method, path, _):
        if method in ("PUT", "POST"):
            writes.append(path)
        return Fault("answer", 403) if len(writes) >= after else None

    lab.proxy.plan = plan
    with pytest.raises(StorageError):
        capture(store, make_fields, os.urandom(10 * CHUNK))
    store = Store(lab.near, tmp_path / "scratch")
    assert store.find(HASH, "uid-1") == []
    for hours in (3, 6):
        store.sweep(datetime.now(UTC) + timedelta(hours=hours))
    assert lab.near.list("") == []
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_pod_starts_cold_for_a_reason_of_its_own(lab, make_fields, tmp_path):
    digest = capture(Store(lab.near, tmp_path / "scratch"), make_fields, os.urandom(CHUNK))
    lab.proxy.plan = lambda *_: Fault("drop")
    with pytest.raises(StoreError, match="it cut the connection, again and again") as caught:
        restore(Store(lab.far, tmp_path / "other"), digest)
    assert caught.value.cause == Cause.STORE


def test_a_store_that_is_silent_is_not_waited_for_long(servers, make_proxy):
    servers.s3_seaweedfs()
    proxy = make_proxy(servers.seaweedfs.removeprefix("http://"))
    proxy.plan = lambda *_: Fault("hang")
    place = Repository(proxy.host, "a/b", plain_http=True)
    for backend in (
        servers.s3(f"http://{proxy.host}", patience=QUICK),
        RegistryBackend(place, login=Login(), patience=QUICK),
    ):
        with pytest.raises(StorageError, match="did not answer in time"):
            backend.size("packs/a.pack")


def test_a_store_that_falls_silent_in_the_middle_is_not_waited_for_long_either(servers, make_proxy):
    near = servers.oci()
    for backend in (near, servers.s3_seaweedfs()):
        backend.put("packs/a.pack", bytes(1 << 20))
    proxies = [make_proxy(servers.registry), make_proxy(servers.seaweedfs.removeprefix("http://"))]
    name, prefix = near._registry.client.place.name, backend.bucket.prefix
    far = [
        RegistryBackend(Repository(proxies[0].host, name, plain_http=True), login=Login(), patience=QUICK),
        servers.s3(f"http://{proxies[1].host}", prefix=prefix, patience=QUICK),
    ]
    for backend, proxy in zip(far, proxies, strict=True):
        assert backend.size("packs/a.pack") == 1 << 20
        proxy.plan = lambda method, path, _: Fault("stall") if method == "GET" and "manifests" not in path else None
        with pytest.raises(StorageError, match=r"in time|again and again"):
            backend.read_into("packs/a.pack", 0, memoryview(bytearray(1 << 20)))
        # The client for S3 takes a content up again by itself, and so do we.
        assert sum(request.startswith("GET") for request in proxy.requests) <= (QUICK.retries + 1) ** 2 + 1


def test_a_lost_answer_does_not_make_our_own_manifest_anothers(lab):
    lab.proxy.first(1, Fault("lose"), of="PUT")
    lab.far.put("h/g/manifest.json", b"ours", if_absent=True)
    lab.proxy.plan = lambda *_: None
    with pytest.raises(FileExistsError):
        lab.far.put("h/g/manifest.json", b"ours", if_absent=True)
    assert lab.near.read("h/g/manifest.json", 0, 9) == b"ours"


def xml(code):
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>m</Message></Error>".encode()


@pytest.mark.parametrize(
    ("status", "code", "why"),
    [
        (403, "RequestTimeTooSkewed", "set this node's clock"),
        (403, "AccessDenied", "the credentials do not allow it"),
        (400, "ExpiredToken", "renew the Secret"),
        (301, "PermanentRedirect", "another region"),
        (503, "SlowDown", "overloaded"),
        (507, "XMinioStorageFull", "full"),
    ],
)
def test_what_a_bucket_refuses_is_said_in_one_line(servers, make_proxy, status, code, why):
    proxy = make_proxy("127.0.0.1:1")
    proxy.plan = lambda *_: Fault("answer", status, xml(code))
    backend = servers.s3(f"http://{proxy.host}", patience=PATIENCE)
    with pytest.raises(StorageError, match=why) as caught:
        backend.list("packs/")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"s3://{proxy.host}/checkpoints/")


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_that_is_off_is_said_to_be(servers, monkeypatch, hours):
    class Off(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + timedelta(hours=hours)

    backend = servers.s3_seaweedfs()
    monkeypatch.setattr(s3uploads, "datetime", Off)
    with pytest.raises(StorageError, match="the clocks of this node and of the store are too far apart"):
        backend.prune(datetime.now(UTC))


def test_wrong_keys_a_missing_bucket_and_no_server_are_told_apart(servers):
    endpoint = servers.s3_seaweedfs().bucket.endpoint
    for backend, why in (
        (servers.s3(endpoint, secret="wrong", patience=PATIENCE), "the credentials are wrong"),
        (servers.s3(servers.s3_moto().bucket.endpoint, bucket="none", patience=PATIENCE), "there is no such bucket"),
        (servers.s3("http://127.0.0.1:1", patience=PATIENCE), "it cannot be reached"),
        (servers.s3("http://nowhere.invalid", patience=PATIENCE), "cannot be (resolved|reached)"),
    ):
        with pytest.raises(StorageError, match=why):
            backend.put("key", b"x", if_absent=True)
