"""Images as archives, and what they are made of."""

import hashlib
import json
import os
import tarfile

import pytest

from release.archive import ImageConfig, write_archive
from release.sbom import components, write_sbom


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "root"
    for folder in ("usr/bin", "proc", "tmp", "var/cache/apt", "etc"):
        (root / folder).mkdir(parents=True)
    (root / "usr/bin/program").write_text("#!/bin/sh\n")
    (root / "usr/bin/program").chmod(0o755)
    os.link(root / "usr/bin/program", root / "usr/bin/same")
    (root / "bin").symlink_to("usr/bin")
    for left_out in ("proc/1", "tmp/x", "var/cache/apt/x.deb"):
        (root / left_out).write_text("x")
    return root


def read(archive):
    with tarfile.open(archive) as tar:
        manifest = json.load(tar.extractfile("manifest.json"))
        config = json.load(tar.extractfile("config.json"))
        layer = tar.extractfile("layer.tar").read()
    return manifest, config, layer


def test_an_archive_holds_one_layer_and_how_it_starts(root, tmp_path):
    settings = ImageConfig(environment={"PATH": "/bin"}, labels={"l": "1"}, entrypoint=("program",), user="65532:65532")
    digest = write_archive(root, "docker.io/library/x:1", settings, tmp_path / "x.tar")
    manifest, config, layer = read(tmp_path / "x.tar")
    assert manifest == [{"Config": "config.json", "RepoTags": ["docker.io/library/x:1"], "Layers": ["layer.tar"]}]
    assert config["rootfs"] == {"type": "layers", "diff_ids": [digest]}
    assert digest == "sha256:" + hashlib.sha256(layer).hexdigest()
    assert config["config"] == {
        "Env": ["PATH=/bin"],
        "Labels": {"l": "1"},
        "Entrypoint": ["program"],
        "User": "65532:65532",
        "WorkingDir": "/",
    }
    assert sorted(path.name for path in tmp_path.iterdir()) == ["root", "x.tar"]


def test_a_layer_holds_links_as_links_and_empties_scratch_folders(root, tmp_path):
    write_archive(root, "x:1", ImageConfig(), tmp_path / "x.tar")
    (tmp_path / "layer.tar").write_bytes(read(tmp_path / "x.tar")[2])
    with tarfile.open(tmp_path / "layer.tar") as tar:
        members = {member.name: member for member in tar}
        assert tar.extractfile("usr/bin/same").read() == b"#!/bin/sh\n"
    folders = {"etc", "proc", "tmp", "usr", "usr/bin", "var", "var/cache", "var/cache/apt"}
    assert set(members) == folders | {"bin", "usr/bin/program", "usr/bin/same"}
    assert members["bin"].issym()
    assert members["usr/bin/same"].linkname == "usr/bin/program"
    assert members["usr/bin/program"].mode & 0o777 == 0o755
    assert {member.mtime for member in members.values()} == {0}


def test_the_same_files_are_the_same_bytes(root, tmp_path):
    first = write_archive(root, "x:1", ImageConfig(), tmp_path / "x.tar")
    os.utime(root / "usr/bin/program", (1, 1))
    assert write_archive(root, "x:1", ImageConfig(), tmp_path / "y.tar") == first
    assert (tmp_path / "x.tar").read_bytes() == (tmp_path / "y.tar").read_bytes()


def test_a_bill_of_materials_names_what_package_managers_installed(tmp_path):
    status = tmp_path / "var/lib/dpkg/status"
    status.parent.mkdir(parents=True)
    status.write_text(
        "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2.41-12\nDescription: C\n of GNU\n\n"
        "Package: gone\nStatus: deinstall ok config-files\nArchitecture: amd64\nVersion: 1\n\n"
    )
    metadata = tmp_path / "opt/chrek/venv/lib/python3.13/site-packages/Rich_Text-1.0.dist-info/METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text("Metadata-Version: 2.4\nName: Rich_Text\nVersion: 1.0\n\nText\n")
    criu = tmp_path / "opt/chrek/criu/packages"
    criu.parent.mkdir(parents=True)
    criu.write_text("criu 4.2.1-1+b1 amd64\n")
    purls = [item["purl"] for item in components(tmp_path)]
    assert purls == [
        "pkg:deb/debian/criu@4.2.1-1%2Bb1?arch=amd64",
        "pkg:deb/debian/libc6@2.41-12?arch=amd64",
        "pkg:pypi/rich-text@1.0",
    ]
    write_sbom(tmp_path, "x", "1", tmp_path / "x.cdx.json")
    document = json.loads((tmp_path / "x.cdx.json").read_text())
    assert document["bomFormat"] == "CycloneDX"
    assert [item["purl"] for item in document["components"]] == purls
