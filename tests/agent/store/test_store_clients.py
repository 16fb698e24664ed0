"""Artifacts in a registry and other people's clients: skopeo, oras and crane list and copy them; what they copied is read here."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from one_artifact import HASH, capture

from chrek_agent.store.chunking import CHUNK
from chrek_agent.store.oci.backend import RegistryBackend
from chrek_agent.store.oci.login import Login
from chrek_agent.store.oci.tags import to_tag
from chrek_agent.store.store import Store
from chrek_agent.store.where import Repository

ORAS = Path(__file__).parents[3] / ".cache/oras/bin/python"
CRANE = Path(__file__).parents[3] / ".cache/crane/usr/bin/crane"
COPY = """
import io, sys, tempfile
from oras.client import OrasClient
from oras.container import Container

source, target = sys.argv[1:]
client = OrasClient(insecure=True)
for tag in client.get_tags(source):
    print(tag)
    manifest = client.get_manifest(f"{source}:{tag}")
    for layer in [manifest["config"], *manifest["layers"]]:
        with tempfile.NamedTemporaryFile() as file:
            client.download_blob(Container(source), layer["digest"], file.name)
            client.upload_blob(file.name, Container(target), layer)
    answer = client.upload_manifest(manifest, Container(f"{target}:{tag}"))
    assert answer.status_code == 201, answer.text
"""


def needed(program):
    found = shutil.which(str(program))
    if not found:
        pytest.skip(f"{program} is not installed: scripts/install-programs")
    return found


@pytest.fixture
def source(servers, make_fields, tmp_path):
    """A store in a repository, its artifact's digest, and the repository's name for others."""
    backend = servers.oci()
    store = Store(backend, tmp_path / "scratch")
    digest = capture(store, make_fields, os.urandom(5 * CHUNK))
    return store, digest, f"{servers.registry}/{backend._registry.client.place.name}"


def reread(copied, digest, tmp_path):
    """The copy in another repository, read in full."""
    host, _, name = copied.partition("/")
    backend = RegistryBackend(Repository(host, name, plain_http=True), login=Login())
    return Store(backend, tmp_path / "other").verify(HASH, "g-1", digest)


def test_skopeo_lists_looks_and_copies(servers, source, tmp_path):
    skopeo = needed("skopeo")
    store, digest, name = source

    def run(*words):
        return subprocess.run([skopeo, *words], check=True, capture_output=True, text=True).stdout

    tags = json.loads(run("list-tags", "--tls-verify=false", f"docker://{name}"))["Tags"]
    assert sorted(tags) == sorted(to_tag(entry.key) for entry in store.backend.list(""))
    manifest = json.loads(run("inspect", "--raw", "--tls-verify=false", f"docker://{name}:{HASH}__g-1"))
    assert manifest["artifactType"] == "application/vnd.chrek.object.v2"
    assert [layer["mediaType"] for layer in manifest["layers"]] == ["application/vnd.chrek.manifest.v2"]
    plain = ("--src-tls-verify=false", "--dest-tls-verify=false")
    run("sync", *plain, "--src", "docker", "--dest", "docker", name, f"{servers.registry}/mirror")
    assert reread(f"{servers.registry}/mirror/{name.rpartition('/')[2]}", digest, tmp_path).generation == "g-1"


def test_oras_lists_and_copies(servers, source, tmp_path):
    store, digest, name = source
    copied = f"{name}-oras"
    done = subprocess.run([needed(ORAS), "-c", COPY, name, copied], check=True, capture_output=True, text=True)
    assert sorted(done.stdout.split()) == sorted(to_tag(entry.key) for entry in store.backend.list(""))
    assert reread(copied, digest, tmp_path).generation == "g-1"


def test_crane_lists_looks_and_copies(servers, source, tmp_path):
    crane = needed(CRANE)
    store, digest, name = source

    def run(*words):
        return subprocess.run([crane, *words], check=True, capture_output=True, text=True).stdout

    assert sorted(run("ls", name).split()) == sorted(to_tag(entry.key) for entry in store.backend.list(""))
    assert json.loads(run("manifest", f"{name}:{HASH}__g-1"))["artifactType"] == "application/vnd.chrek.object.v2"
    for copied in (f"{name}-crane", f"{servers.crane()}/mirror"):  # In the same registry, which mounts, and in crane's own.
        run("copy", "--all-tags", name, copied)
        assert reread(copied, digest, tmp_path).generation == "g-1"
