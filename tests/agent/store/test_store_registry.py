"""What only registries are asked for: tokens, ranges, the right to delete, and to mount what another repository has."""

import base64
import json
import os
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from faulty_proxy import PATIENCE, Fault
from one_artifact import HASH, capture, restore

from chrek_agent.store.chunking import CHUNK
from chrek_agent.store.oci import registry
from chrek_agent.store.oci.backend import RegistryBackend
from chrek_agent.store.oci.login import Login
from chrek_agent.store.refusals import StorageError
from chrek_agent.store.store import Store
from chrek_agent.store.transfer.copying import copy
from chrek_agent.store.where import Repository


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


def test_a_user_and_a_password_may_be_all_that_it_wants(servers, make_proxy, tmp_path, monkeypatch):
    servers.oci()
    proxy = make_proxy(servers.registry)
    right = "Basic " + base64.b64encode(b"me:right").decode()
    refused = Fault("answer", 401, headers={"WWW-Authenticate": 'Basic realm="registry"'})
    proxy.plan = lambda _, __, headers: None if headers.get("Authorization") == right else refused
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    for password, good in (("right", True), ("wrong", False)):
        secret = {"auths": {proxy.host: {"username": "me", "password": password}}}
        (tmp_path / "config.json").write_text(json.dumps(secret))
        backend = RegistryBackend(Repository(proxy.host, "a/b", plain_http=True), patience=PATIENCE)
        if good:
            backend.put("key", b"content")
            assert backend.read("key", 0, 99) == b"content"
        else:
            with pytest.raises(StorageError, match="credentials are wrong or missing"):
                backend.list("")


def test_its_garbage_collection_frees_what_was_swept_and_no_more(servers, make_fields, tmp_path):
    store = Store(servers.oci(), tmp_path / "scratch")
    contents = {generation: os.urandom(CHUNK) for generation in ("g-1", "g-2")}
    digests = {generation: capture(store, make_fields, content, generation) for generation, content in contents.items()}
    store.delete(HASH, {"g-2"})
    for hours in (3, 6):
        store.sweep(datetime.now(UTC) + timedelta(hours=hours))

    def stored():
        return sum(path.stat().st_size for path in (servers.base / "registry").rglob("blobs/**/data"))

    before = stored()
    command = ["docker-registry", "garbage-collect", str(servers.base / "registry" / "registry.yml")]
    subprocess.run(command, check=True, capture_output=True)
    assert stored() <= before - CHUNK
    assert restore(store, digests["g-1"]) == contents["g-1"]
    assert capture(store, make_fields, contents["g-2"], "g-3")
    assert store.verify(HASH, "g-1", digests["g-1"])


@pytest.mark.parametrize("limit", [50, 500])
@pytest.mark.parametrize("knows_last", [True, False])
def test_a_registry_that_names_no_next_page_is_asked_for_it(make_proxy, monkeypatch, limit, knows_last):
    monkeypatch.setattr(registry, "_PAGE", 50)
    tags = [f"a_{number:03}" for number in range(120)]
    proxy = make_proxy("127.0.0.1:1")

    def plan(_, path, __):
        last = parse_qs(urlsplit(path).query).get("last", [""])[0] if knows_last else ""
        return Fault("answer", 200, json.dumps({"tags": [tag for tag in tags if tag > last][:limit]}).encode())

    proxy.plan = plan
    backend = RegistryBackend(Repository(proxy.host, "a/b", plain_http=True), login=Login(), patience=PATIENCE)
    assert backend._registry.tags() == (tags if knows_last else tags[:limit])
    assert len(proxy.requests) <= 4


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
