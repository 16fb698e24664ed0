"""Locations, tags, logins and signatures: what is read from words, and what is made of them."""

import base64
import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from chrek_agent.main import parse, parse_bytes
from chrek_agent.store.oci.login import Challenge, Login, find_login, parse_challenge, read_login
from chrek_agent.store.oci.manifests import Layer, Object, dump_manifest, parse_manifest
from chrek_agent.store.oci.tags import NOTE, to_key, to_tag
from chrek_agent.store.patience import LONGEST_WAIT, Patience
from chrek_agent.store.refusals import explain
from chrek_agent.store.s3uploads import Credentials, sign
from chrek_agent.store.where import Bucket, Repository, connect, kind, open_store, parse_place, plain
from kubectl_chrek.api.errors import UsageError

NOW = datetime(2013, 5, 24, tzinfo=UTC)


@pytest.mark.parametrize(
    ("location", "place"),
    [
        ("/checkpoints", Path("/checkpoints")),
        ("s3://my-bucket/checkpoints", Bucket("my-bucket", "checkpoints")),
        ("s3://my-bucket", Bucket("my-bucket")),
        (
            "s3://minio.example.com/my-bucket/checkpoints",
            Bucket("my-bucket", "checkpoints", "https://minio.example.com", path_style=True),
        ),
        (
            "s3://minio:9000/my-bucket/a/b?plain-http=true&region=eu",
            Bucket("my-bucket", "a/b", "http://minio:9000", "eu", path_style=True),
        ),
        (
            "s3://my.bucket/a?endpoint=http://127.0.0.1:9000&path-style=false",
            Bucket("my.bucket", "a", "http://127.0.0.1:9000"),
        ),
        ("s3://b/?endpoint=minio:9000", Bucket("b", "", "https://minio:9000", path_style=True)),
        ("s3://b?ca=/etc/ca.crt", Bucket("b", ca=Path("/etc/ca.crt"))),
        ("oci://myregistry.io/checkpoints", Repository("myregistry.io", "checkpoints")),
        ("oci://localhost:5000/a/b?plain-http=true", Repository("localhost:5000", "a/b", plain_http=True)),
    ],
)
def test_a_location_is_understood(location, place):
    assert parse_place(location) == place


@pytest.mark.parametrize(
    "location",
    [
        "checkpoints",
        "",
        "ftp://host/a",
        "s3://",
        "s3:///a",
        "s3://minio.example.com",
        "s3://user:password@bucket/a",
        "s3://bucket/a?colour=red",
        "s3://bucket/a?path-style=maybe",
        "s3://bucket/a?region",
        "s3://bucket/a?endpoint=ftp://host",
        "oci://host",
        "oci://host/Capital",
        "oci://host/a#b",
    ],
)
def test_what_is_no_location_is_refused_in_one_line(location):
    with pytest.raises(UsageError) as caught:
        parse_place(location)
    assert "\n" not in str(caught.value)


def test_what_people_see_of_a_location():
    assert [kind(word) for word in ("/a", "s3://b", "oci://h/r")] == ["directory", "s3", "oci"]
    assert plain("s3://b/c/?endpoint=https://host&region=x") == "s3://b/c"
    assert Bucket("b", "c", "https://h:1").url == "s3://h:1/b/c"


def test_an_authority_to_trust_may_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("CHREK_STORAGE_CA", "/etc/ca.crt")
    assert parse_place("oci://host/a") == Repository("host", "a", Path("/etc/ca.crt"))


def test_a_directory_keeps_captures_under_way_beside_it(tmp_path):
    assert open_store(str(tmp_path), tmp_path / "other").scratch.parent == tmp_path
    assert open_store("oci://localhost:1/a", tmp_path / "other").scratch == tmp_path / "other"
    assert connect("s3://bucket/a").local("packs/a.pack") is None


def test_sizes_of_caches():
    assert [parse_bytes(word) for word in ("0", "1000", "2Ki", "100Gi", "1Ti")] == [0, 1000, 2048, 100 << 30, 1 << 40]
    for word in ("", "Gi", "1.5Gi", "1Zi", "many"):
        with pytest.raises(ValueError):
            parse_bytes(word)
    with pytest.raises(SystemExit):
        parse(["--cache-bytes", "many"])


KEYS = (
    "5941a4cb3c363457/20260101T000000Z-abcd1234/manifest.json",
    "packs/0a1b.pack",
    "packs/0a1b.index",
    "tombstones/0a1b",
    "a",
    "h/g",
)


@pytest.mark.parametrize("key", KEYS)
def test_a_tag_leads_back_to_its_key(key):
    assert to_key(to_tag(key)) == key


def test_tags_are_all_different_and_the_artifacts_is_its_hash_and_generation():
    assert len({to_tag(key) for key in KEYS} | {to_tag("h/g/manifest.json")}) == len(KEYS) + 1
    assert to_tag(KEYS[0]) == "5941a4cb3c363457__20260101T000000Z-abcd1234"


@pytest.mark.parametrize("key", ["", "a_b", "/a", "a//b", ".a", "a/.b", "-a", "a" * 129, "a b", "a\n"])
def test_what_is_no_key_gets_no_tag(key):
    with pytest.raises(ValueError):
        to_tag(key)


@pytest.mark.parametrize("tag", [f"{NOTE}1", "_", "a_", "a___b", "latest!", "a__b_c"])
def test_tags_of_others_are_no_keys(tag):
    assert to_key(tag) is None


def test_a_range_is_found_in_its_layers():
    layers = (Layer("a", 10), Layer("b", 5), Layer("c", 10))
    found = Object(layers, NOW)
    assert (found.size, found.ranges(0, 99)) == (25, [(layers[0], 0, 10), (layers[1], 0, 5), (layers[2], 0, 10)])
    assert found.ranges(8, 4) == [(layers[0], 8, 2), (layers[1], 0, 2)]
    assert found.ranges(25, 1) == found.ranges(3, 0) == []


def test_a_manifest_is_unlike_any_other_and_says_what_it_is():
    first, second = (dump_manifest("packs/a.pack", [Layer("sha256:1", 3)], NOW) for _ in range(2))
    assert first != second
    assert parse_manifest(first) == parse_manifest(second) == Object((Layer("sha256:1", 3),), NOW)
    read = json.loads(first)
    assert read["layers"][0]["mediaType"] == "application/vnd.chrek.pack.v2"
    assert read["layers"][0]["annotations"] == {"org.opencontainers.image.title": "packs/a.pack"}
    for content in (b"", b"[]", b"{}", b'{"layers": 1}', b'{"layers": []}'):
        with pytest.raises(ValueError):
            parse_manifest(content)


def test_a_login_is_found_in_a_docker_config(tmp_path, monkeypatch):
    auth = base64.b64encode(b"me:pass:word").decode()
    assert find_login("host:5000", {"auths": {"host:5000": {"auth": auth}}}) == Login("me", "pass:word")
    assert find_login("h", {"auths": {"https://h/v1/": {"username": "a", "password": "b"}}}) == Login("a", "b")
    assert find_login("h", {"auths": {"other": {"auth": auth}}}) == find_login("h", {}) == Login()
    monkeypatch.delenv("DOCKER_CONFIG", raising=False)
    assert read_login("h") == read_login("h", tmp_path) == Login()
    (tmp_path / "config.json").write_text(json.dumps({"auths": {"h": {"auth": auth}}}))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    assert read_login("h").basic == "Basic " + auth
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UsageError, match="is no docker config"):
        read_login("h")


def test_a_challenge_is_read():
    found = parse_challenge('Bearer realm="https://auth/token",service="registry",scope="repository:a:pull"')
    assert found == Challenge("bearer", "https://auth/token", "registry")
    assert parse_challenge('Basic realm="x"').scheme == "basic"


def test_a_request_is_signed_with_all_that_it_says():
    credentials = Credentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "token")
    url, headers = sign(credentials, "GET", "https://b.s3.amazonaws.com", {"uploads": "", "prefix": "a b/"}, "us-east-1", NOW)
    assert url == "https://b.s3.amazonaws.com?prefix=a%20b%2F&uploads="
    assert headers["x-amz-security-token"] == "token"
    assert headers["authorization"].startswith(
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, "
        "SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-security-token, Signature="
    )


def test_waits_grow_and_are_bounded():
    patience = Patience(pause=0.2)
    assert all(0.1 <= patience.wait(1) <= 0.2 for _ in range(20))
    assert all(LONGEST_WAIT / 2 <= patience.wait(20) <= LONGEST_WAIT for _ in range(20))
    assert len({patience.wait(3) for _ in range(5)}) > 1


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("x <Code>SignatureDoesNotMatch</Code>", "the credentials are wrong"),
        ("status code: 401 Unauthorized", "wrong or missing"),
        ("status code: 500 x", "it answered 500, again and again"),
        ("GET http://169.254.169.254/latest/api/token kind: Connect", "there are no credentials"),
        ("x invalid peer certificate: UnknownIssuer kind: Connect", "give [?]ca="),
        ("first\nsecond", "^first$"),
    ],
)
def test_refusals_are_explained(text, meaning):

    assert re.search(meaning, explain(text))
