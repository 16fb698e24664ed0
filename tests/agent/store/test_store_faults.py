"""Stores that answer badly: tried again a bounded number of times, never half visible, and one line says why it does not work."""

import base64
import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from chrek_agent.errors import StoreError
from chrek_agent.store.chunking import CHUNK
from chrek_agent.store.oci.backend import RegistryBackend
from chrek_agent.store.oci.login import Login
from chrek_agent.store.patience import Patience
from chrek_agent.store.refusals import StorageError
from chrek_agent.store.store import Store
from chrek_agent.store.transfer.copying import copy
from chrek_agent.store.where import Repository
from kubectl_chrek.api.names import Cause

HASH = "5941a4cb3c363457"
PATIENCE = Patience(retries=4, total=20, connect=2, request=5, pause=0.01)
QUICK = Patience(retries=1, total=5, connect=1, request=0.3, pause=0.01)


@dataclass
class Fault:
    """What a proxy does to one request.

    `answer`: that status with `body`, not asking the server; `lose`: asks it and says nothing; `drop`: does neither; `cut`: half of
    the body; `stall`: the same, and then silence; `short`: half of it as if that were all; `flip`: one bit wrong; `hang`: nothing
    until the proxy ends.
    """

    kind: str
    status: int = 503
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


class Proxy(ThreadingHTTPServer):
    """Between a client and a server on loopback; `plan` says for each request (method, path, headers) what goes wrong with it."""

    daemon_threads = True

    def __init__(self, upstream: str) -> None:
        super().__init__(("127.0.0.1", 0), _ProxyHandler)
        self.upstream = upstream
        self.plan: Callable[[str, str, Any], Fault | None] = lambda *_: None
        self.requests: list[str] = []
        self.ended = threading.Event()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server_port}"

    def first(self, number: int, fault: Fault, *, of: str = "") -> None:
        """Of each request (of a method, if it is named) the first tries go wrong."""
        tries: dict[str, int] = {}

        def plan(method: str, path: str, _: Any) -> Fault | None:
            key = f"{method} {path.partition('?')[0].partition('/uploads/')[0]}"
            tries[key] = tries.get(key, 0) + 1
            return fault if of in ("", method) and tries[key] <= number else None

        self.plan = plan

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that gives up is what the tests are about."""


class _ProxyHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _pass(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.requests.append(f"{self.command} {self.path}")
        fault = self.server.plan(self.command, self.path, self.headers)
        kind = fault.kind if fault else ""
        if kind == "answer":
            self._answer(fault.status, fault.headers, fault.body)
        elif kind == "hang":
            self.server.ended.wait()
        if kind in ("drop", "hang"):
            self.close_connection = True
        if kind in ("drop", "hang", "answer"):
            return
        connection = HTTPConnection(self.server.upstream, timeout=30)
        with closing(connection):
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                connection.putheader(name, value)
            with suppress(ConnectionError):  # A server that refuses does not always read on.
                connection.endheaders(body)
            answer = connection.getresponse()
            content = answer.read()
        if kind == "lose":
            self.close_connection = True
            return
        if kind == "flip" and content:
            content = content[:-1] + bytes([content[-1] ^ 1])
        if kind == "short":
            content = content[: len(content) // 2]
        headers = {name: value for name, value in answer.getheaders() if name.lower() not in _HOP}
        self._answer(answer.status, headers, content, cut=kind in ("cut", "stall"), length=answer.getheader("Content-Length"))
        if kind == "stall":
            self.server.ended.wait()

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass  # noqa: N815 - the base class finds them by these names

    def _answer(self, status: int, headers: dict[str, str], body: bytes, *, cut: bool = False, length: str | None = None) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", length or "0" if self.command == "HEAD" else str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if cut else body)
        if cut:
            self.close_connection = True


_HOP = frozenset({"content-length", "transfer-encoding", "connection", "keep-alive"})


@pytest.fixture
def make_proxy() -> Iterator[Callable[[str], Proxy]]:
    with ExitStack() as stack:

        def make(upstream: str) -> Proxy:
            proxy = stack.enter_context(Proxy(upstream))
            thread = threading.Thread(target=proxy.serve_forever, args=(0.01,))
            thread.start()
            stack.callback(thread.join)
            stack.callback(proxy.shutdown)
            stack.callback(proxy.ended.set)
            return proxy

        yield make


@dataclass
class Lab:
    """A store behind a proxy, and the same store past it."""

    proxy: Any
    near: Any
    far: Any


@pytest.fixture(params=["oci", "s3"])
def lab(request, servers, make_proxy):
    if request.param == "oci":
        near = servers.oci()
        proxy = make_proxy(servers.registry)
        place = Repository(proxy.host, near._registry.client.place.name, plain_http=True)
        return Lab(proxy, near, RegistryBackend(place, login=Login(), patience=PATIENCE))
    near = servers.s3_seaweedfs()
    proxy = make_proxy(servers.seaweedfs.removeprefix("http://"))
    far = servers.s3(f"http://{proxy.host}", prefix=near.bucket.prefix, patience=PATIENCE)
    return Lab(proxy, near, far)


def capture(store, make_fields, content):
    with store.begin("g-1") as writer:
        run = writer.add_run("private", 1, 0)
        for offset in range(0, len(content), CHUNK):
            run.write(memoryview(content)[offset : offset + CHUNK])
        run.close()
        return writer.commit(make_fields())[1]


def restore(store, digest):
    with store.open(HASH, "g-1", digest) as artifact:
        chunks = list(artifact.chunks(artifact.manifest.memory[0]))
        artifact.expect(chunks)
        return b"".join(bytes(artifact.fetch(chunk)) for chunk in chunks)


@pytest.mark.parametrize("kind", ["answer", "drop", "lose"])
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


class TokenService:
    """As registries have them: gives a token for the right password."""

    def __init__(self, proxy):
        self.proxy, self.given = proxy, 0

    def __call__(self, method, path, headers):
        authorization = headers.get("Authorization", "")
        if path.startswith("/token"):
            if authorization != "Basic " + base64.b64encode(b"me:right").decode():
                return Fault("answer", 401)
            assert "scope=repository%3Aa%2Fb%3Apull%2Cpush%2Cdelete" in path
            self.given += 1
            return Fault("answer", 200, json.dumps({"token": f"t{self.given}"}).encode())
        if authorization == f"Bearer t{self.given}" and self.given:
            return None
        asked = f'Bearer realm="http://{self.proxy.host}/token",service="s"'
        return Fault("answer", 401, headers={"WWW-Authenticate": asked})


def test_a_registrys_token_is_got_and_renewed(servers, make_proxy):
    servers.oci()
    proxy = make_proxy(servers.registry)
    proxy.plan = service = TokenService(proxy)
    backend = RegistryBackend(Repository(proxy.host, "a/b", plain_http=True), login=Login("me", "right"))
    backend.put("key", b"content")
    service.given += 1
    assert backend.read("key", 0, 99) == b"content"
    assert service.given == 3
    wrong = RegistryBackend(Repository(proxy.host, "a/b", plain_http=True), login=Login("me", "wrong"))
    with pytest.raises(StorageError, match="credentials are wrong or missing"):
        wrong.list("")


def test_a_registry_that_deletes_nothing_says_so(servers, make_proxy):
    near = servers.oci()
    proxy = make_proxy(servers.registry)
    proxy.plan = lambda method, *_: Fault("answer", 405) if method == "DELETE" else None
    near.put("key", b"x")
    far = RegistryBackend(Repository(proxy.host, near._registry.client.place.name, plain_http=True), login=Login())
    with pytest.raises(StorageError, match="it deletes nothing: allow it"):
        far.delete("key")


def test_a_registry_that_knows_no_ranges_is_read_all_the_same(servers, make_proxy):
    near = servers.oci()
    near.put("packs/a.pack", b"0123456789")
    proxy = make_proxy(servers.registry)
    far = RegistryBackend(Repository(proxy.host, near._registry.client.place.name, plain_http=True), login=Login())

    def forget_range(_, __, headers):
        del headers["Range"]

    proxy.plan = forget_range
    assert far.read("packs/a.pack", 3, 4) == b"3456"


@dataclass
class Twins:
    """Two repositories of one registry behind a proxy, an artifact in the first."""

    proxy: Any
    source: Store
    target: Store
    digest: str
    content: bytes

    def copy(self):
        self.proxy.requests.clear()
        return copy(self.source, self.target, HASH, "g-1", self.digest)

    def layers_sent(self):
        return sum(request.startswith("PUT") and "/uploads/" in request for request in self.proxy.requests)


@pytest.fixture
def twins(servers, make_proxy, make_fields, tmp_path):
    servers.oci()
    proxy = make_proxy(servers.registry)
    stores = [Store(servers.repository(proxy.host, patience=PATIENCE), tmp_path / name) for name in ("one", "two")]
    content = os.urandom(4 * CHUNK)
    return Twins(proxy, *stores, capture(stores[0], make_fields, content), content)


def test_a_copy_to_a_repository_of_the_same_registry_sends_no_chunk(twins):
    received = twins.copy()
    assert (received.fresh, received.chunks) == (True, 0)
    assert sum("mount=sha256" in request for request in twins.proxy.requests) == 2
    assert twins.layers_sent() == 2  # The manifest, and the empty configuration of all objects.
    twins.target.verify(HASH, "g-1", twins.digest)
    assert restore(twins.target, twins.digest) == twins.content
    assert [entry.key for entry in twins.copy() and twins.target.backend.list("packs/")] == [
        entry.key for entry in twins.source.backend.list("packs/")
    ]


@pytest.mark.parametrize("answer", [Fault("answer", 202, headers={"Location": "/v2/none/blobs/uploads/1"}), Fault("answer", 405)])
def test_where_a_registry_mounts_nothing_chunks_are_sent(twins, answer):
    twins.proxy.plan = lambda method, path, _: answer if "mount=" in path else None
    assert twins.copy().chunks == 4
    assert restore(twins.target, twins.digest) == twins.content


def test_what_is_anothers_does_not_come_along(twins, make_fields, tmp_path):
    with twins.source.begin("g-2") as writer:
        run = writer.add_run("private", 1, 0)
        run.write(memoryview(twins.content)[:CHUNK])
        run.close()
        digest = writer.commit(make_fields("uid-2"))[1]
    assert copy(twins.source, twins.target, HASH, "g-2", digest).chunks == 1
    assert twins.target.usage().stored < 2 * CHUNK


def test_the_right_to_read_the_other_repository_is_asked_for(servers, make_proxy):
    near = servers.oci()
    near.put("packs/a.pack", b"content")
    proxy = make_proxy(servers.registry)
    asked = []

    def plan(method, path, headers):
        if path.startswith("/token"):
            asked.append(parse_qs(urlsplit(path).query)["scope"])
            return Fault("answer", 200, b'{"token": "t"}')
        if headers.get("Authorization") != "Bearer t" or (not asked or (len(asked[-1]) < 2 and "mount=" in path)):
            return Fault("answer", 401, headers={"WWW-Authenticate": f'Bearer realm="http://{proxy.host}/token",service="s"'})
        return None

    proxy.plan = plan
    place = near._registry.client.place
    source = RegistryBackend(Repository(proxy.host, place.name, plain_http=True), login=Login("me", "right"))
    target = RegistryBackend(Repository(proxy.host, "a/b", plain_http=True), login=Login("me", "right"))
    assert target.mount(source, "packs/a.pack")
    assert asked[-1] == ["repository:a/b:pull,push,delete", f"repository:{place.name}:pull"]
    assert target.read("packs/a.pack", 0, 99) == b"content"
