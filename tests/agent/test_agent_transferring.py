"""`chrek-agent export`, `import` and `copy`: command lines, files and pipes."""

import base64
import io
import json
import logging
import os
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from chrek_agent.main import main
from chrek_agent.store.chunking import CHUNK
from chrek_agent.store.model import Fields, Owner, Source
from chrek_agent.store.store import Store
from kubectl_chrek.api.artifact_file import measure, read_parts

HASH = "5941a4cb3c363457"
CONTENT = os.urandom(3 * CHUNK + 5)


@pytest.fixture(autouse=True)
def own_logging(monkeypatch):
    monkeypatch.setattr(logging.getLogger(), "handlers", [])


@pytest.fixture
def source(tmp_path):
    store = Store.at(tmp_path / "source")
    with store.begin("g-1") as writer:
        (tmp_path / "file").write_bytes(CONTENT)
        writer.add_file("rootfs.tar", tmp_path / "file")
        where = Source(node="n", pod="p", container="main", image="", image_id="", worker=1, pids=[], pipes={})
        writer.commit(
            Fields(
                identity_hash=HASH,
                identity={},
                created_at=datetime(2026, 1, 1, tzinfo=UTC),
                owner=Owner(namespace="ns", name="cp", uid="u"),
                source=where,
                compatibility={},
                deleted=[],
            )
        )
    return tmp_path / "source"


@pytest.fixture
def run(capsys, tmp_path):
    def call(*words, code=0):
        assert main([*map(str, words), "--state", str(tmp_path / "state")]) == code
        captured = capsys.readouterr()
        return captured.err.strip() if code else captured.out

    return call


def content_of(store, where, directory):
    directory.mkdir()
    digest = store["digest"]
    with Store.at(where).open(*store["artifact"].split("/"), digest) as artifact:
        artifact.materialise(directory)
    return (directory / "rootfs.tar").read_bytes()


def test_a_file_carries_an_artifact(run, source, tmp_path):
    file, target = tmp_path / "a.chrek", tmp_path / "target"
    said = run("export", HASH, file, "--store", source)
    assert said == f"{HASH}/g-1: 6.0 MiB in {file}\n"
    assert list(tmp_path.glob("*.partial")) == []
    received = json.loads(run("import", file, "--store", target, "-o", "json"))
    assert received["artifact"] == f"{HASH}/g-1"
    assert (received["fresh"], received["chunks"]) == (True, 4)
    assert content_of(received, target, tmp_path / "out") == CONTENT
    assert run("import", file, "--store", target) == f"{HASH}/g-1: 6.0 MiB, all of it was there\n"


def test_an_export_that_was_cut_off_is_continued(run, source, tmp_path, monkeypatch):
    file = tmp_path / "a.chrek"
    run("export", f"{HASH}/g-1", file, "--store", source)
    whole = file.read_bytes()
    for cut in (0, 100, len(whole) // 2, len(whole) - 1, len(whole)):
        file.unlink(missing_ok=True)
        (tmp_path / "a.chrek.partial").write_bytes(whole[:cut])
        run("export", f"{HASH}/g-1", file, "--store", source)
        assert file.read_bytes() == whole
    file.unlink()
    (tmp_path / "a.chrek.partial").write_bytes(whole.replace(b'"g-1"', b'"g-2"', 1)[:-1])
    assert "its HEAD part is not what was written" in run("export", HASH, file, "--store", source, code=1)
    assert not file.exists()


def piped(monkeypatch, name, content=b""):
    stream = io.TextIOWrapper(io.BytesIO(content))
    monkeypatch.setattr(sys, name, stream)
    return stream.buffer


def test_pipes_carry_an_artifact_and_what_is_lacking_can_be_asked(run, source, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        output = piped(patch, "stdout")
        assert main(["export", HASH, "-", "--raw", "--store", str(source)]) == 0
        whole = output.getvalue()
    with monkeypatch.context() as patch:
        output = piped(patch, "stdout")
        assert main(["export", HASH, "-", "--raw", "--skip", "2", "--store", str(source)]) == 0
        assert whole.endswith(output.getvalue())
    ends, stream = [], io.BytesIO(whole)
    for _ in read_parts(stream):
        ends.append(stream.tell())  # noqa: PERF401 - while it is read
    assert measure(io.BytesIO(whole[: ends[3]])).chunks == 2
    target = tmp_path / "target"
    with monkeypatch.context() as patch:
        piped(patch, "stdin", whole[: ends[3] + 9])
        assert "ends before its end" in run("import", "-", "--store", target, code=1)
    with monkeypatch.context() as patch:
        piped(patch, "stdin", whole[: ends[1]])
        asked = json.loads(run("import", "-", "--ask", "--store", target))
    assert asked["lacking"] == 2
    assert base64.b64decode(asked["bits"]) == bytes([0b1100])
    with monkeypatch.context() as patch:
        piped(patch, "stdin", whole[: ends[1]] + whole[ends[3] :])
        received = json.loads(run("import", "-", "--store", target, "-o", "json"))
    assert received["chunks"] == 2
    assert content_of(received, target, tmp_path / "out") == CONTENT


def test_stores_are_copied(run, source, tmp_path):
    target = tmp_path / "target"
    received = json.loads(run("copy", f"{source}/{HASH}/g-1", target, "-o", "json"))
    assert received["chunks"] == 4
    assert content_of(received, target, tmp_path / "out") == CONTENT
    assert run("copy", HASH, target, "--store", source).endswith("all of it was there\n")


def test_what_cannot_be_done_is_one_line(run, source, tmp_path):
    assert "there is no artifact nope" in run("export", "nope", tmp_path / "f", "--store", source, code=1)
    assert "No such file or directory" in run("export", HASH, tmp_path / "no" / "f", "--store", source, code=1)
    assert "No such file or directory" in run("import", tmp_path / "no", "--store", tmp_path / "t", code=1)
    assert "--skip is for standard output" in run("export", HASH, tmp_path / "f", "--skip", "1", "--store", source, code=2)
    (tmp_path / "other").write_bytes(b"x" * 100)
    assert "this is no artifact" in run("import", tmp_path / "other", "--store", tmp_path / "t", code=1)
    assert "is not understood" in run("export", HASH, "-", "--store", "ftp://x", code=2)


def test_a_reader_that_leaves_ends_the_export(source):
    reading, writing = os.pipe()
    command = [sys.executable, "-m", "chrek_agent", "export", HASH, "-", "--store", str(source)]
    with subprocess.Popen(command, stdout=writing, stderr=subprocess.PIPE, text=True) as process:
        os.close(writing)
        os.read(reading, 100)
        os.close(reading)
        assert process.stderr.read().endswith("nobody reads the export any more\n")
    assert process.returncode == 1
