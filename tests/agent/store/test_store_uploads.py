"""Blobs whose upload is cut: what a registry has of one is not sent again, and one that cannot say gets all of it anew."""

import os

import pytest
from faulty_proxy import PATIENCE, Fault
from strict_registry import Manners

from chrek_agent.store.oci.client import Client
from chrek_agent.store.oci.login import Login
from chrek_agent.store.oci.registry import Registry
from chrek_agent.store.oci.upload import CHUNK
from chrek_agent.store.refusals import StorageError
from chrek_agent.store.where import Repository

BLOB = os.urandom(2 * CHUNK + 5000)
SIZE = len(BLOB)


def at(host):
    return Registry(Client(Repository(host, "a/b", plain_http=True), Login(), PATIENCE))


def go_wrong(proxy, *kinds):
    """What happens to each request that sends something, one after the other; nothing to those that follow."""
    left = iter(kinds)

    def plan(method, *_):
        kind = next(left, "") if method in ("PUT", "PATCH") else ""
        return Fault(kind) if kind else None

    proxy.plan = plan


def read(registry, layer):
    content = bytearray(layer.size)
    registry.read_into(layer, 0, memoryview(content))
    return bytes(content)


@pytest.fixture
def behind(strict, make_proxy):
    """What a registry of the specification's letter has, a proxy before it, and a client of that."""
    proxy = make_proxy(strict.host)
    return strict, proxy, at(proxy.host)


def test_what_is_not_cut_is_one_request(behind):
    strict, proxy, registry = behind
    layer = registry.upload(BLOB)
    assert strict.content.blobs == {layer.digest: BLOB}
    assert [request.partition(" ")[0] for request in proxy.requests] == ["POST", "PUT"]


@pytest.mark.parametrize("kinds", [("break",), ("break", "break"), ("break", "", "break", "break")])
def test_no_byte_is_sent_twice_that_the_registry_has(behind, kinds):
    strict, proxy, registry = behind
    go_wrong(proxy, *kinds)
    layer = registry.upload(BLOB)
    assert strict.content.blobs[layer.digest] == BLOB
    assert strict.content.count("POST") == 1
    assert proxy.received == SIZE


@pytest.mark.parametrize(("kind", "lost"), [("swallow", SIZE // 2 + CHUNK // 2), ("drop", SIZE + CHUNK)])
def test_of_what_a_proxy_kept_to_itself_only_that_is_sent_again(behind, kind, lost):
    strict, proxy, registry = behind
    go_wrong(proxy, kind, "", kind)
    layer = registry.upload(BLOB)
    assert strict.content.blobs[layer.digest] == BLOB
    assert strict.content.count("POST") == 1
    assert sum(received for _, received in strict.content.requests) == SIZE
    assert proxy.received == SIZE + lost


@pytest.mark.parametrize("kinds", [("lose",), ("break", "lose"), ("break", "", "lose"), ("break", "", "", "lose")])
def test_an_answer_that_was_lost_costs_nothing(behind, kinds):
    strict, proxy, registry = behind
    go_wrong(proxy, *kinds)
    layer = registry.upload(BLOB)
    assert strict.content.blobs[layer.digest] == BLOB
    assert proxy.received == SIZE


@pytest.mark.parametrize(
    "manners", [Manners(status=404), Manners(status=405), Manners(status=500), Manners(status=403), Manners(tells=False)]
)
def test_where_a_registry_does_not_say_the_upload_is_begun_anew(behind, manners):
    strict, proxy, registry = behind
    strict.manners = manners
    go_wrong(proxy, "break")
    layer = registry.upload(BLOB)
    assert strict.content.blobs[layer.digest] == BLOB
    assert strict.content.count("POST") == 2
    assert proxy.received < 2 * SIZE


@pytest.mark.parametrize("status", [400, 404, 405])
def test_a_registry_that_takes_no_chunks_gets_it_whole(behind, status):
    strict, proxy, registry = behind
    strict.manners = Manners(chunks=status)
    go_wrong(proxy, "break")
    layer = registry.upload(BLOB)
    assert strict.content.blobs[layer.digest] == BLOB


def test_a_wrong_offset_is_asked_for_again(behind):
    strict, proxy, registry = behind
    strict.manners = Manners(lies=1)
    go_wrong(proxy, "break")
    layer = registry.upload(BLOB)
    assert strict.content.blobs[layer.digest] == BLOB
    assert strict.content.count("POST") == 1
    assert strict.content.count("GET") == 2


def test_chunks_are_as_large_as_the_registry_wants(behind):
    strict, proxy, registry = behind
    strict.manners = Manners(least=SIZE)
    go_wrong(proxy, "break")
    layer = registry.upload(BLOB)
    assert strict.content.blobs[layer.digest] == BLOB
    assert strict.content.count("PATCH") == 1


def test_what_came_over_damaged_is_sent_anew_and_not_for_ever(behind):
    strict, proxy, registry = behind
    strict.manners = Manners(damaged=1)
    go_wrong(proxy, "break")
    layer = registry.upload(BLOB)
    assert strict.content.blobs[layer.digest] == BLOB
    strict.manners = Manners(damaged=99)
    with pytest.raises(StorageError, match="again and again"):
        registry.upload(BLOB[1:])
    assert strict.content.count("PUT") <= 2 + 2 + PATIENCE.retries


@pytest.mark.parametrize("kind", ["break", "swallow", "drop"])
def test_cuts_that_do_not_end_are_given_up(behind, kind):
    strict, proxy, registry = behind
    go_wrong(proxy, *[kind] * 99)
    with pytest.raises(StorageError, match="again and again"):
        registry.upload(BLOB)
    assert strict.content.blobs == {}
    assert sum(request.startswith(("PUT", "PATCH")) for request in proxy.requests) == PATIENCE.retries + 1


@pytest.mark.parametrize("server", ["registry", "crane"])
@pytest.mark.parametrize("kind", ["break", "swallow", "lose"])
def test_real_registries_get_less_than_twice_as_much(servers, make_proxy, server, kind):
    servers.oci()
    proxy = make_proxy(servers.registry if server == "registry" else servers.crane())
    go_wrong(proxy, kind)
    registry = at(proxy.host)
    blob = os.urandom(SIZE)
    assert read(registry, registry.upload(blob)) == blob
    assert proxy.received < 2 * SIZE


def test_dockers_registry_goes_on_where_a_whole_chunk_ended(servers, make_proxy):
    servers.oci()
    proxy = make_proxy(servers.registry)
    go_wrong(proxy, "swallow", "", "swallow")
    registry = at(proxy.host)
    blob = os.urandom(SIZE)
    assert read(registry, registry.upload(blob)) == blob
    assert sum(request.startswith("POST") for request in proxy.requests) == 1
    assert proxy.received == SIZE // 2 + CHUNK // 2 + SIZE
