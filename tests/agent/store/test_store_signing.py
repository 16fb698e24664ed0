"""Signed manifests: who may say what is restored, and that nobody else can."""

import base64
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chrek_agent.errors import ArtifactError, SignatureError, StoreError
from chrek_agent.main import main
from chrek_agent.store.chunking import CHUNK, PAGE
from chrek_agent.store.model import Owner
from chrek_agent.store.ownership import restate
from chrek_agent.store.protection import Protection, from_environment, parse_key
from chrek_agent.store.sealing import NO_KEYS, name_of
from chrek_agent.store.signing import Signing, fingerprint
from chrek_agent.store.store import Store
from chrek_agent.store.transfer.copying import copy
from chrek_agent.store.transfer.receiving import receive
from chrek_agent.store.transfer.sending import Sending
from chrek_agent.store.where import open_store
from kubectl_chrek.api.artifact_file import read_head
from kubectl_chrek.api.errors import UsageError
from kubectl_chrek.api.names import Cause

HASH = "5941a4cb3c363457"
OURS, THEIRS = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
PRIVATE = OURS.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
PUBLIC = OURS.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
KEY = bytes(range(32))


@pytest.fixture
def at(tmp_path):
    def make(own=None, *trusted, required=False, base="store", backend=None):
        signing = Signing(own, [key.public_key() for key in trusted], required=required)
        return Store(backend or Store.at(tmp_path / base).backend, tmp_path / "scratch", protection=Protection(NO_KEYS, signing))

    return make


@pytest.fixture
def capture(make_fields):
    def make(store, generation="g-1", uid="uid-1"):
        with store.begin(generation) as writer:
            run = writer.add_run("private", 1, 0)
            run.write(memoryview(os.urandom(PAGE)))
            run.close()
            return writer.commit(make_fields(uid))

    return make


def opened(store, digest, generation="g-1"):
    with store.open(HASH, generation, digest) as artifact:
        return artifact.manifest


def signature(store, generation="g-1"):
    return store.backend.path(f"{HASH}/{generation}/manifest.sig")


def test_what_is_captured_is_signed_and_restored_by_those_who_trust_the_key(at, capture):
    store = at(OURS, required=True)
    manifest, digest = capture(store)
    assert opened(store, digest) == opened(at(None, THEIRS, OURS, required=True), digest) == manifest
    assert store.verify(HASH, "g-1", digest) == manifest
    assert store.signer(HASH, "g-1") == fingerprint(OURS.public_key())
    assert len(signature(store).read_bytes()) == 64


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda path: path.unlink(), "is not signed$"),
        (lambda path: path.write_bytes(b""), "is not signed$"),
        (lambda path: path.write_bytes(bytes(64)), "by anybody whom this agent trusts"),
        (lambda path: path.write_bytes(path.read_bytes() + b"x"), "by anybody whom this agent trusts"),
        (
            lambda path: path.write_bytes(THEIRS.sign(path.with_name("manifest.json").read_bytes())),
            "by anybody whom this agent trusts",
        ),
    ],
)
def test_what_is_badly_signed_is_refused_where_a_signature_is_required(at, capture, change, why):
    store = at(OURS)
    manifest, digest = capture(store)
    change(signature(store))
    strict = at(None, OURS, required=True)
    with pytest.raises(SignatureError, match=why) as caught:
        strict.open(HASH, "g-1", digest)
    assert (caught.value.cause, "\n" in str(caught.value)) == (Cause.SIGNATURE, False)
    assert isinstance(caught.value, StoreError), "the artifact must not be withdrawn"
    assert strict.verify(HASH, "g-1", digest) == manifest, "a capture that others are to sign must be possible"
    with pytest.raises(SignatureError, match=why):
        store.signer(HASH, "g-1")
    assert opened(at(), digest) == manifest


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_bit_of_a_signature_or_of_what_is_signed_can_be_changed(data):
    manifest = b'{"files": {}}'
    signing = Signing(OURS, required=True)
    good = signing.sign(manifest)
    signing.enforce("it", manifest, good)
    whole = bytearray(manifest + good)
    whole[data.draw(st.integers(0, len(whole) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(SignatureError):
        signing.enforce("it", bytes(whole[: len(manifest)]), bytes(whole[len(manifest) :]))


def test_a_signature_is_for_one_artifact_alone(at, capture):
    store = at(OURS, required=True)
    capture(store)
    _, digest = capture(store, "g-2")
    shutil.copy(signature(store), signature(store, "g-2"))
    with pytest.raises(SignatureError):
        store.open(HASH, "g-2", digest)


def test_a_signature_goes_with_its_artifact(at, capture):
    store = at(OURS)
    capture(store)
    assert store.delete(HASH, {"g-1"}) == 1
    assert [entry.key for entry in store.backend.list(HASH)] == []


@pytest.mark.parametrize("number", range(12))
def test_a_capture_that_fails_leaves_no_signature_alone(at, capture, faulty, number):
    place = at().backend
    for event in ("fail before", "fail after"):
        backend = faulty(place)
        backend.arm({number: event})
        try:
            capture(at(OURS, backend=backend))
        except OSError:
            names = {entry.key.rpartition("/")[2] for entry in place.list(HASH)}
            assert "manifest.sig" not in names or "manifest.json" in names
        at().delete(HASH, {"g-1"})


def test_openssl_says_the_same(at, capture, tmp_path):
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed: run scripts/install-programs")
    store = at(OURS)
    capture(store)
    (tmp_path / "public.pem").write_bytes(PUBLIC)
    path = signature(store)
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", str(tmp_path / "public.pem"), "-rawin"]
    files = ["-in", str(path.with_name("manifest.json")), "-sigfile", str(path)]
    assert subprocess.run([*command, *files], check=False, capture_output=True).returncode == 0
    path.write_bytes(bytes(64))
    assert subprocess.run([*command, *files], check=False, capture_output=True).returncode != 0


def test_export_import_and_copy_carry_it(at, capture):
    source, target, third = at(OURS), at(None, OURS, required=True, base="target"), at(None, OURS, required=True, base="third")
    manifest, digest = capture(source)
    with Sending(source, HASH, "g-1", digest, squeeze=False) as sending:
        parts = list(sending.parts())
    assert receive(target, iter(parts)).fresh
    assert opened(target, digest) == manifest
    assert receive(target, iter(parts)).fresh is False
    assert copy(target, third, HASH, "g-1", digest).fresh
    assert signature(third).read_bytes() == signature(source).read_bytes()


def test_an_import_brings_the_signature_that_was_missing_and_replaces_none(at, capture):
    source = at(OURS)
    _, digest = capture(source)
    with Sending(source, HASH, "g-1", digest, squeeze=False) as sending:
        parts = list(sending.parts())
    signature(source).unlink()
    receive(at(), iter(parts))
    assert signature(source).read_bytes() == bytes.fromhex(read_head(parts[0]).signature)
    signature(source).write_bytes(b"theirs")
    receive(at(), iter(parts))
    assert signature(source).read_bytes() == b"theirs"


def test_what_is_not_signed_is_not_imported_where_it_has_to_be(at, capture):
    source, target = at(), at(None, OURS, required=True, base="target")
    _, digest = capture(source)
    with Sending(source, HASH, "g-1", digest, squeeze=False) as sending:
        parts = list(sending.parts())
    with pytest.raises(SignatureError, match="artifact g-1 is not signed"):
        receive(target, iter(parts))
    assert target.backend.list("") == []
    head = json.loads(bytes(parts[0].content)) | {"signature": "no"}
    with pytest.raises(ArtifactError, match="its signature is none"):
        receive(target, iter([type(parts[0])(b"HEAD", b"", json.dumps(head).encode()), *parts[1:]]))


def test_what_changes_hands_is_signed_anew_if_it_was_signed(at, capture):
    owner = Owner(namespace="ns", name="other", uid="2")
    trusting = at(THEIRS, OURS, required=True)
    manifest, _ = capture(at(OURS))
    restated, digest = restate(trusting, manifest, "g-2", owner)
    assert opened(trusting, digest, "g-2") == restated
    assert trusting.signer(HASH, "g-2") == fingerprint(THEIRS.public_key())
    restate(trusting, manifest, "g-2", owner)
    signature(trusting).unlink()
    restate(at(THEIRS), manifest, "g-3", owner)
    assert not signature(trusting, "g-3").exists(), "an artifact of nobody's was signed"
    with pytest.raises(SignatureError, match="no key to sign with"):
        restate(at(None, OURS, required=True), manifest, "g-4", owner)


def test_one_that_was_captured_before_there_was_a_key_can_be_signed(at, capture):
    _, digest = capture(at())
    store = at(OURS, required=True)
    with pytest.raises(SignatureError, match="is not signed"):
        store.open(HASH, "g-1", digest)
    assert store.sign(HASH, "g-1", digest) == fingerprint(OURS.public_key())
    opened(store, digest)
    with pytest.raises(SignatureError, match="no key to sign with"):
        at().sign(HASH, "g-1", digest)
    with pytest.raises(ArtifactError, match="not the one that was committed"):
        store.sign(HASH, "g-1", "0" * 64)


@pytest.mark.parametrize("server", ["oci", "s3-seaweedfs"])
def test_in_other_places_too(at, capture, servers, server):
    store = at(OURS, required=True, backend=getattr(servers, server.replace("-", "_"))())
    manifest, digest = capture(store)
    assert opened(store, digest) == store.verify(HASH, "g-1", digest) == manifest
    store.backend.delete(f"{HASH}/g-1/manifest.sig")
    with pytest.raises(SignatureError, match=r"is not signed$"):
        store.open(HASH, "g-1", digest)


class TestKeys:
    """What the environment names."""

    def test_a_directory_of_keys_as_a_secret_is_mounted(self, tmp_path):
        old, hidden = bytes(32), tmp_path / "..data"
        hidden.mkdir()
        (hidden / "current").write_bytes(base64.b64encode(KEY) + b"\n")
        (tmp_path / "current").symlink_to(hidden / "current")
        (tmp_path / "2025").write_text(old.hex() + "\n")
        keys = from_environment({"CHREK_ENCRYPTION_KEYS": str(tmp_path)}).keys
        assert keys.current == name_of(KEY)
        assert keys.holds(name_of(old))

    @pytest.mark.parametrize("text", [KEY, KEY.hex().encode(), base64.b64encode(KEY) + b"\n"])
    def test_forms_of_a_key(self, tmp_path, text):
        (tmp_path / "key").write_bytes(text)
        assert parse_key("it", text) == KEY
        assert from_environment({"CHREK_ENCRYPTION_KEYS": str(tmp_path / "key")}).keys.current == name_of(KEY)

    def test_a_command_unwraps_keys(self, tmp_path):
        wrapped = tmp_path / "wrapped"
        wrapped.write_bytes(base64.b64encode(KEY.hex().encode()) + b"\n")
        keys = from_environment({"CHREK_ENCRYPTION_COMMAND": f"base64 -d '{wrapped}'"}).keys
        assert keys.current == name_of(KEY)
        two = from_environment({"CHREK_ENCRYPTION_COMMAND": f"printf '%s\\n' {KEY.hex()} {bytes(32).hex()}"}).keys
        assert (two.current, two.holds(name_of(bytes(32)))) == (name_of(KEY), True)

    @pytest.mark.parametrize(
        ("environment", "why"),
        [
            ({"CHREK_ENCRYPTION_KEYS": "{}/none"}, "cannot be read: No such file"),
            ({"CHREK_ENCRYPTION_KEYS": "{}/empty"}, "has no key named current"),
            ({"CHREK_ENCRYPTION_KEYS": "{}/short"}, "holds no key of 32 bytes"),
            ({"CHREK_ENCRYPTION_KEYS": "{}/short", "CHREK_ENCRYPTION_COMMAND": "cat"}, "exclude each other"),
            ({"CHREK_ENCRYPTION_COMMAND": "false s3cr3t"}, "the key command false failed: exit 1"),
            ({"CHREK_ENCRYPTION_COMMAND": "ls /none"}, "the key command ls failed: ls: cannot access"),
            ({"CHREK_ENCRYPTION_COMMAND": "no-such-program s3cr3t"}, "cannot be run"),
            ({"CHREK_ENCRYPTION_COMMAND": "true"}, "printed no key"),
            ({"CHREK_ENCRYPTION_COMMAND": "echo secret"}, "what the key command printed holds no key"),
            ({"CHREK_SIGNING_KEY": "{}/short"}, "holds no key in PEM"),
            ({"CHREK_SIGNING_KEY": "{}/public.pem"}, "holds no key in PEM"),
            ({"CHREK_TRUSTED_KEYS": "{}/private.pem"}, "holds no key in PEM"),
            ({"CHREK_REQUIRE_SIGNATURE": "true"}, "no key is trusted"),
            ({"CHREK_REQUIRE_SIGNATURE": "yes"}, "neither true nor false"),
        ],
    )
    def test_what_is_no_key_is_said_in_one_line(self, tmp_path, environment, why):
        (tmp_path / "empty").mkdir()
        (tmp_path / "short").write_text("c2hvcnQ=")
        (tmp_path / "public.pem").write_bytes(PUBLIC)
        (tmp_path / "private.pem").write_bytes(PRIVATE)
        with pytest.raises(UsageError, match=why) as caught:
            from_environment({name: value.format(tmp_path) for name, value in environment.items()})
        assert "\n" not in str(caught.value)
        assert "s3cr3t" not in str(caught.value)

    def test_it_is_told_in_a_line(self, tmp_path):
        (tmp_path / "key").write_bytes(KEY)
        (tmp_path / "private.pem").write_bytes(PRIVATE)
        found = {"CHREK_ENCRYPTION_KEYS": str(tmp_path / "key"), "CHREK_SIGNING_KEY": str(tmp_path / "private.pem")}
        told = str(from_environment(found | {"CHREK_REQUIRE_SIGNATURE": "true"}))
        assert told == f"sealed with key {name_of(KEY)[:8]}, signed, signatures required"
        assert str(Protection()) == "not sealed, not signed"

    def test_nothing_is_asked_for_and_nothing_is_protected(self):
        assert from_environment({"PATH": "/bin"}) == Protection()

    def test_a_sealed_store_keeps_captures_under_way_elsewhere(self, tmp_path, monkeypatch):
        assert open_store(str(tmp_path), tmp_path / "local").scratch == tmp_path / ".staging"
        (tmp_path / "key").write_bytes(KEY)
        monkeypatch.setenv("CHREK_ENCRYPTION_KEYS", str(tmp_path / "key"))
        assert open_store(str(tmp_path), tmp_path / "local").scratch == tmp_path / "local"


class TestCommands:
    """`chrek-agent sign` and `verify`."""

    @pytest.fixture
    def keys(self, tmp_path, monkeypatch):
        (tmp_path / "private.pem").write_bytes(PRIVATE)
        (tmp_path / "public.pem").write_bytes(PUBLIC)
        (tmp_path / "key").write_bytes(KEY)
        monkeypatch.setenv("CHREK_TRUSTED_KEYS", str(tmp_path / "public.pem"))
        return tmp_path

    def test_sign_and_verify(self, keys, at, capture, capsys, monkeypatch):
        capture(at())
        store = ["--store", str(keys / "store")]
        assert main(["verify", HASH, *store]) == 0
        assert main(["verify", HASH, *store, "--require-signature"]) == 1
        assert "artifact g-1 is not signed" in capsys.readouterr().err
        assert main(["sign", HASH, *store]) == 1
        monkeypatch.setenv("CHREK_SIGNING_KEY", str(keys / "private.pem"))
        capsys.readouterr()
        assert main(["sign", HASH, *store]) == 0
        name = fingerprint(OURS.public_key())
        assert capsys.readouterr().out == f"{HASH}/g-1: signed by {name[:16]}\n"
        assert main(["verify", HASH, *store, "--require-signature", "-o", "json"]) == 0
        assert json.loads(capsys.readouterr().out)["signedBy"] == name

    def test_reseal(self, keys, at, capture, capsys, monkeypatch):
        capture(at())
        for path in (keys / "store" / "packs").iterdir():
            os.utime(path, (1e9, 1e9))
        words = ["reseal", "--store", str(keys / "store")]
        assert main(words) == 1
        assert "there is no key to seal with" in capsys.readouterr().err
        monkeypatch.setenv("CHREK_ENCRYPTION_KEYS", str(keys / "key"))
        assert main(words) == 0
        assert capsys.readouterr().out == "1 packs, 4.0 KiB sealed anew\n"
        assert main(["verify", HASH, "--store", str(keys / "store")]) == 0

    def test_a_sealed_one_is_verified_with_its_key_alone(self, keys, make_fields, monkeypatch, capsys):
        monkeypatch.setenv("CHREK_ENCRYPTION_KEYS", str(keys / "key"))
        store = open_store(str(keys / "store"), keys / "scratch")
        with store.begin("g-1") as writer:
            run = writer.add_run("private", 1, 0)
            run.write(memoryview(os.urandom(CHUNK)))
            run.close()
            writer.commit(make_fields())
        words = ["verify", HASH, "--store", str(keys / "store")]
        assert main(words) == 0
        monkeypatch.delenv("CHREK_ENCRYPTION_KEYS")
        assert main(words) == 1
        said = capsys.readouterr().err
        assert "which this agent does not have" in said
        assert "Traceback" not in said
        assert not (Path(keys) / "store" / "tombstones").exists()
