"""The artifact store: what was captured comes back whole, or not at all."""

import os
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from chrek_agent.errors import ArtifactError
from chrek_agent.store import directory
from chrek_agent.store.digest import digest_bytes, digest_tree, list_files, verify_tree
from chrek_agent.store.directory import STAGING, TRASH, DirectoryStore, new_generation
from chrek_agent.store.manifest import IMAGES, MANIFEST, Manifest, Owner, Platform, Source, read_manifest

HASH = "5941a4cb3c363457"
GENERATION = "20260129T100500Z-0badcafe"
FILES = {f"{IMAGES}/pages-1.img": b"\0" * (1 << 20) + b"more than a megabyte", f"{IMAGES}/empty.img": b"", "rootfs.tar": b"tar"}


def manifest_of(staging: Path, generation: str = GENERATION, uid: str = "uid-1") -> Manifest:
    return Manifest(
        identity_hash=HASH,
        identity={"model": "m"},
        generation=generation,
        created_at=datetime(2026, 1, 29, tzinfo=UTC),
        owner=Owner(namespace="ns", name="cp", uid=uid),
        source=Source(node="n", pod="p", container="main", image="i", image_id="", worker=1001, pids=[1001], pipes={1: "pipe:[7]"}),
        platform=Platform(architecture="x86_64", kernel="6", cpu_features=[], criu="4.2"),
        deleted=[],
        files=digest_tree(staging),
    )


def committed(store: DirectoryStore, generation: str = GENERATION, uid: str = "uid-1") -> tuple[Path, str]:
    staging = store.stage(generation)
    for name, content in FILES.items():
        (staging / name).write_bytes(content)
    digest = store.commit(staging, manifest_of(staging, generation, uid))
    return store.base / HASH / generation, digest


@pytest.fixture
def store(tmp_path):
    return DirectoryStore(tmp_path / "store")


def test_what_is_committed_is_read_back(store):
    artifact, digest = committed(store)
    path, manifest = store.open(HASH, GENERATION, digest)
    assert path == artifact
    assert store.verify(HASH, GENERATION, digest) == manifest
    assert set(manifest.files) == set(FILES)
    assert manifest.size == sum(map(len, FILES.values()))
    assert manifest.source.pipes == {1: "pipe:[7]"}


def test_a_commit_is_one_rename_and_nothing_is_open_to_others(store):
    os.umask(os.umask(0o022))
    artifact, _ = committed(store)
    assert list((store.base / STAGING).iterdir()) == []
    for path in (store.base, store.base / STAGING, artifact.parent, artifact, artifact / IMAGES):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700, path


def test_a_generation_is_never_committed_over_another(store):
    artifact, _ = committed(store)
    before = (artifact / MANIFEST).read_bytes()
    with pytest.raises(OSError):
        committed(store)
    assert (artifact / MANIFEST).read_bytes() == before


@pytest.mark.parametrize("name", [*(name for name, content in FILES.items() if content), MANIFEST])
def test_one_changed_byte_is_found_in_every_file(store, name):
    artifact, digest = committed(store)
    path = artifact / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ArtifactError):
        store.verify(HASH, GENERATION, digest)


@pytest.mark.parametrize("name", [*FILES, MANIFEST])
def test_a_missing_file_is_found(store, name):
    artifact, digest = committed(store)
    (artifact / name).unlink()
    with pytest.raises(ArtifactError, match=r"missing|no manifest"):
        store.verify(HASH, GENERATION, digest)


@pytest.mark.parametrize("name", [*(name for name, content in FILES.items() if content), MANIFEST])
def test_a_truncated_file_is_found(store, name):
    artifact, digest = committed(store)
    os.truncate(artifact / name, (artifact / name).stat().st_size - 1)
    with pytest.raises(ArtifactError):
        store.verify(HASH, GENERATION, digest)


@pytest.mark.parametrize("content", [b"", b"more"])
@pytest.mark.parametrize("name", ["extra", f"{IMAGES}/extra", "new/extra"])
def test_a_file_too_many_is_found(store, name, content):
    artifact, digest = committed(store)
    (artifact / name).parent.mkdir(exist_ok=True)
    (artifact / name).write_bytes(content)
    with pytest.raises(ArtifactError, match="extra does not belong to it"):
        store.verify(HASH, GENERATION, digest)


def test_a_longer_file_is_found_without_reading_it(store, monkeypatch):
    artifact, digest = committed(store)
    (artifact / "rootfs.tar").write_bytes(b"longer")
    monkeypatch.setattr("chrek_agent.store.digest.digest_file", None)
    with pytest.raises(ArtifactError, match=r"rootfs.tar has 6 bytes, not 3"):
        store.verify(HASH, GENERATION, digest)


def test_a_link_to_the_same_content_is_corruption(store, tmp_path):
    artifact, digest = committed(store)
    (artifact / "rootfs.tar").rename(tmp_path / "outside")
    (artifact / "rootfs.tar").symlink_to(tmp_path / "outside")
    with pytest.raises(ArtifactError, match=r"rootfs.tar is not a regular file"):
        store.verify(HASH, GENERATION, digest)


def test_a_link_to_a_directory_is_corruption(store, tmp_path):
    artifact, digest = committed(store)
    (artifact / IMAGES).rename(tmp_path / "outside")
    (artifact / IMAGES).symlink_to(tmp_path / "outside")
    with pytest.raises(ArtifactError, match="images is not a regular file"):
        store.verify(HASH, GENERATION, digest)


def test_a_link_in_place_of_the_manifest_is_corruption(store, tmp_path):
    artifact, digest = committed(store)
    (artifact / MANIFEST).rename(tmp_path / "outside")
    (artifact / MANIFEST).symlink_to(tmp_path / "outside")
    with pytest.raises(ArtifactError, match="not a regular file"):
        store.open(HASH, GENERATION, digest)


def test_a_fifo_is_corruption_and_nobody_waits_for_its_writer(store):
    artifact, digest = committed(store)
    os.mkfifo(artifact / "fifo")
    with pytest.raises(ArtifactError, match="fifo is not a regular file"):
        store.verify(HASH, GENERATION, digest)
    (artifact / MANIFEST).unlink()
    os.mkfifo(artifact / MANIFEST)
    with pytest.raises(ArtifactError, match="not a regular file"):
        store.open(HASH, GENERATION, digest)


def test_nothing_but_files_is_committed(store):
    staging = store.stage(GENERATION)
    (staging / "link").symlink_to("/etc/passwd")
    with pytest.raises(ArtifactError):
        digest_tree(staging)


def test_a_file_that_vanishes_while_it_is_verified_is_an_artifact_error(store, monkeypatch):
    artifact, _ = committed(store)
    manifest, _ = read_manifest(artifact)
    monkeypatch.setattr("chrek_agent.store.digest.list_files", lambda _: [*FILES, MANIFEST])
    (artifact / "rootfs.tar").unlink()
    with pytest.raises(ArtifactError, match="cannot be read"):
        verify_tree(artifact, manifest)


def test_only_the_manifest_in_the_status_is_believed(store):
    _, digest = committed(store)
    with pytest.raises(ArtifactError, match="not the one that was committed"):
        store.open(HASH, GENERATION, "0" * 64)
    other = "20260129T100500Z-00000000"
    (store.base / HASH / GENERATION).rename(store.base / HASH / other)
    with pytest.raises(ArtifactError, match="not the one that was committed"):
        store.open(HASH, other, digest)
    (store.base / HASH).rename(store.base / "0000000000000000")
    with pytest.raises(ArtifactError):
        store.open("0000000000000000", GENERATION, digest)


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "/etc", ".staging", "a\0b"])
def test_names_from_users_stay_inside_the_store(store, name):
    committed(store)
    (store.base.parent / "x").mkdir()
    for call in (
        lambda: store.open(name, GENERATION, ""),
        lambda: store.open(HASH, name, ""),
        lambda: store.delete(name, {GENERATION}),
        lambda: store.delete(HASH, {name}),
        lambda: store.find(name, "uid-1"),
        lambda: store.belongs(HASH, name, "uid-1"),
    ):
        with pytest.raises(ArtifactError, match="names no artifact"):
            call()
    assert (store.base / HASH / GENERATION / MANIFEST).exists()


def test_a_manifest_of_another_version_is_refused(store):
    artifact, _ = committed(store)
    text = (artifact / MANIFEST).read_text()
    for changed in (
        text.replace('"format": 1', '"format": 2'),
        text.replace('"format": 1', '"format": 1, "flavour": 7'),
        text.replace('"worker": 1001', '"worker": 1001, "flavour": 7'),
        text.replace('"worker": 1001,', ""),
        text[:-2],
        "[]",
        "",
    ):
        assert changed != text
        (artifact / MANIFEST).write_text(changed)
        with pytest.raises(ArtifactError):
            store.open(HASH, GENERATION, digest_bytes(changed.encode()))


def test_deleting_leaves_nothing(store):
    committed(store, "g-1")
    committed(store, "g-2")
    assert store.delete(HASH, {"g-1", "g-3"}) == 1
    assert [path.name for path in (store.base / HASH).iterdir()] == ["g-2"]
    assert store.delete(HASH, {"g-2"}) == 1
    assert not (store.base / HASH).exists()
    assert list((store.base / TRASH).iterdir()) == []
    assert store.delete(HASH, {"g-2"}) == 0


def test_an_artifact_leaves_its_place_before_its_first_file_goes(store, monkeypatch):
    artifact, _ = committed(store)
    seen = []
    monkeypatch.setattr(directory.shutil, "rmtree", lambda path, **_: seen.append((artifact.exists(), sorted(list_files(path)))))
    store.delete(HASH, {GENERATION})
    assert seen == [(False, sorted([*FILES, MANIFEST]))]


def test_two_agents_may_delete_at_once(store, monkeypatch):
    artifact, _ = committed(store)
    monkeypatch.setattr(Path, "is_dir", lambda _: True)
    assert store.delete(HASH, {GENERATION}) == 1
    assert store.delete(HASH, {GENERATION}) == 0
    assert not artifact.exists()


def test_a_checkpoint_finds_its_own_artifacts_oldest_first(store):
    committed(store, "20260102T000000Z-a")
    committed(store, "20260101T000000Z-b")
    committed(store, "20260103T000000Z-c", uid="uid-2")
    damaged, _ = committed(store, "20260104T000000Z-d")
    (damaged / MANIFEST).write_text("{}")
    assert [found.generation for found in store.find(HASH, "uid-1")] == ["20260101T000000Z-b", "20260102T000000Z-a"]
    assert store.find("0000000000000000", "uid-1") == []
    assert store.belongs(HASH, "20260101T000000Z-b", "uid-1")
    assert not store.belongs(HASH, "20260103T000000Z-c", "uid-1")
    assert store.belongs(HASH, "20260104T000000Z-d", "uid-1")


def test_generations_sort_by_time_and_never_meet():
    early, late = datetime(2026, 1, 29, 9, tzinfo=UTC), datetime(2026, 1, 29, 10, tzinfo=UTC)
    assert new_generation(early) < new_generation(late)
    assert new_generation(early) != new_generation(early)
