"""What every backend has to do. A new kind is added to BACKENDS in conftest.py and has to pass unchanged."""

import os
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta

import pytest

from chrek_agent.store.local import STAGING, DirectoryBackend
from chrek_agent.store.oci import registry


def keys(backend, prefix=""):
    return [entry.key for entry in backend.list(prefix)]


class TestConformance:
    """Any backend."""

    def test_what_is_put_is_read_back_whole_and_in_ranges(self, backend):
        backend.put("a/b", b"0123456789")
        assert bytes(backend.read("a/b", 0, 100)) == b"0123456789"
        assert bytes(backend.read("a/b", 3, 4)) == b"3456"
        assert bytes(backend.read("a/b", 8, 4)) == b"89"
        assert bytes(backend.read("a/b", 10, 4)) == b""
        assert bytes(backend.read("a/b", 4, 0)) == b""
        assert backend.size("a/b") == 10

    def test_an_object_may_be_empty(self, backend):
        backend.put("empty", b"")
        backend.writer("streamed").close()
        for key in ("empty", "streamed"):
            assert (backend.size(key), bytes(backend.read(key, 0, 1))) == (0, b"")

    def test_put_replaces_the_whole(self, backend):
        backend.put("key", b"long content")
        backend.put("key", b"short")
        assert bytes(backend.read("key", 0, 100)) == b"short"

    def test_a_conditional_put_never_replaces(self, backend):
        backend.put("h/g/manifest.json", b"first", if_absent=True)
        with pytest.raises(FileExistsError):
            backend.put("h/g/manifest.json", b"second", if_absent=True)
        assert bytes(backend.read("h/g/manifest.json", 0, 100)) == b"first"
        backend.delete("h/g/manifest.json")
        backend.put("h/g/manifest.json", b"third", if_absent=True)
        assert bytes(backend.read("h/g/manifest.json", 0, 100)) == b"third"

    def test_of_many_conditional_puts_one_succeeds(self, backend):
        start, won = threading.Barrier(8), []

        def put(number):
            start.wait()
            try:
                backend.put("one", bytes([number]), if_absent=True)
            except FileExistsError:
                return
            won.append(number)

        threads = [threading.Thread(target=put, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [bytes([number]) for number in won] == [bytes(backend.read("one", 0, 9))]

    @pytest.mark.parametrize("call", ["read", "size"])
    def test_a_missing_object_is_said_to_be_missing(self, backend, call):
        backend.put("other", b"")
        with pytest.raises(FileNotFoundError):
            backend.read("key", 0, 1) if call == "read" else backend.size("key")

    def test_a_writer_shows_nothing_before_it_is_closed(self, backend):
        writer = backend.writer("packs/a.pack")
        writer.write(b"one", memoryview(b"two"), bytearray(b"three"))
        writer.write()
        writer.write(b"", b"four")
        assert keys(backend) == []
        with pytest.raises(FileNotFoundError):
            backend.read("packs/a.pack", 0, 1)
        writer.close()
        assert bytes(backend.read("packs/a.pack", 0, 100)) == b"onetwothreefour"
        assert [(entry.key, entry.size) for entry in backend.list("")] == [("packs/a.pack", 15)]
        writer.abort()
        assert keys(backend) == ["packs/a.pack"]

    def test_what_is_written_may_be_reused_at_once(self, backend):
        writer, piece = backend.writer("key"), bytearray(b"a" * 5000)
        for letter in b"abc":
            piece[:] = bytes([letter]) * 5000
            writer.write(memoryview(piece))
        writer.close()
        assert bytes(backend.read("key", 0, 15000)) == b"a" * 5000 + b"b" * 5000 + b"c" * 5000

    def test_many_pieces_at_once(self, backend):
        writer = backend.writer("key")
        writer.write(*(bytes([number % 256]) * 7 for number in range(3000)))
        writer.close()
        assert bytes(backend.read("key", 0, 21000)) == b"".join(bytes([number % 256]) * 7 for number in range(3000))

    def test_a_large_object_is_streamed(self, backend):
        piece, writer = os.urandom(1 << 20), backend.writer("packs/large.pack")
        for _ in range(40):
            writer.write(piece)
        writer.close()
        assert backend.size("packs/large.pack") == 40 << 20
        assert bytes(backend.read("packs/large.pack", (39 << 20) - 1, 3)) == piece[-1:] + piece[:2]

    def test_an_aborted_writer_leaves_nothing(self, backend):
        backend.put("key", b"before")
        writer = backend.writer("key")
        writer.write(b"after")
        writer.abort()
        writer.abort()
        assert bytes(backend.read("key", 0, 100)) == b"before"
        assert backend.prune(datetime.now(UTC) + timedelta(days=1)) == 0

    def test_a_writer_that_dies_leaves_nothing_to_be_seen_and_is_cleared_away(self, backend):
        writer = backend.writer("packs/a.pack")
        writer.write(b"half")
        assert keys(backend) == []
        assert backend.prune(datetime(2000, 1, 1, tzinfo=UTC)) == 0
        assert backend.prune(datetime.now(UTC) + timedelta(days=3650)) == 1
        assert backend.prune(datetime.now(UTC) + timedelta(days=3650)) == 0
        assert keys(backend) == []

    def test_two_writers_of_different_keys_do_not_meet(self, backend):
        writers = {name: backend.writer(name) for name in ("p/a", "p/b")}
        for _ in range(3):
            for name, writer in writers.items():
                writer.write(name.encode())
        for writer in writers.values():
            writer.close()
        assert bytes(backend.read("p/a", 0, 99)) == b"p/ap/ap/a"
        assert bytes(backend.read("p/b", 0, 99)) == b"p/bp/bp/b"

    def test_list_goes_by_prefix_and_is_sorted(self, backend):
        for key in ("packs/b.pack", "packs/a.index", "packs/a.pack", "packs2/x", "5941/g/manifest.json", "5941/g2/manifest.json"):
            backend.put(key, key.encode())
        assert keys(backend, "packs/") == ["packs/a.index", "packs/a.pack", "packs/b.pack"]
        assert keys(backend, "packs") == ["packs/a.index", "packs/a.pack", "packs/b.pack", "packs2/x"]
        assert keys(backend, "packs/a") == ["packs/a.index", "packs/a.pack"]
        assert keys(backend, "5941/g/") == ["5941/g/manifest.json"]
        assert len(keys(backend)) == 6
        assert keys(backend, "none/") == keys(backend, "none") == []
        assert {entry.size for entry in backend.list("packs/b")} == {12}

    def test_list_is_complete_when_there_are_many(self, backend, request, monkeypatch):
        monkeypatch.setattr(registry, "_PAGE", 50)
        pages_of_s3 = request.node.callspec.params["backend"] == "s3-seaweedfs"  # A thousand names, whatever a client asks for.
        expected = [f"many/{number:05}" for number in range(1100 if pages_of_s3 else 120)]
        threads = [
            threading.Thread(target=lambda part: [backend.put(key, b"") for key in part], args=(expected[start::8],))
            for start in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert keys(backend, "many/") == expected

    def test_times_are_absolute_and_do_not_run_backwards(self, backend):
        backend.put("a", b"")
        backend.put("b", b"")
        first, second = (entry.modified for entry in backend.list(""))
        assert first.utcoffset() == timedelta(0)
        assert first <= second

    def test_delete_is_final_and_may_be_repeated(self, backend):
        backend.put("h/g/manifest.json", b"x")
        backend.put("h/g2/manifest.json", b"x")
        for _ in range(2):
            backend.delete("h/g/manifest.json")
            assert keys(backend) == ["h/g2/manifest.json"]
        with pytest.raises(FileNotFoundError):
            backend.size("h/g/manifest.json")

    def test_a_local_file_has_the_content(self, backend):
        backend.put("packs/a.pack", b"content")
        path = backend.local("packs/a.pack")
        assert path is None or path.read_bytes() == b"content"


@pytest.fixture
def directory(tmp_path):
    return DirectoryBackend(tmp_path / "store")


@pytest.mark.parametrize("key", ["", "/a", "a//b", "a/", "../a", "a/../b", ".staging/x", "a/.b", "a\0b"])
def test_what_is_no_key_touches_nothing(directory, key):
    for call in (
        lambda: directory.put(key, b""),
        lambda: directory.writer(key),
        lambda: directory.read(key, 0, 1),
        lambda: directory.size(key),
        lambda: directory.delete(key),
        lambda: directory.local(key),
    ):
        with pytest.raises(ValueError, match="is no key"):
            call()
    assert not directory.base.exists()


def test_nothing_is_open_to_others(directory):
    os.umask(os.umask(0o022))
    directory.put("h/g/manifest.json", b"")
    for path in (directory.base, *directory.base.rglob("*")):
        assert path.stat().st_mode & 0o077 == 0, path


def test_links_and_fifos_are_not_read(directory, tmp_path):
    directory.put("h/a", b"")
    (tmp_path / "outside").write_bytes(b"secret")
    (directory.base / "h" / "link").symlink_to(tmp_path / "outside")
    os.mkfifo(directory.base / "h" / "fifo")
    for key in ("h/link", "h/fifo"):
        with pytest.raises(OSError):
            directory.read(key, 0, 10)
    (directory.base / "loop").symlink_to(directory.base)
    assert keys(directory, "loop/") == []


def test_deleting_the_last_object_leaves_no_directories(directory):
    directory.put("h/g/manifest.json", b"")
    directory.delete("h/g/manifest.json")
    assert [path.name for path in directory.base.iterdir()] == [STAGING]


def test_a_killed_writer_leaves_nothing_to_be_seen(directory):
    program = f"""
import sys
from pathlib import Path
from chrek_agent.store.local import DirectoryBackend
writer = DirectoryBackend(Path({str(directory.base)!r})).writer("packs/a.pack")
writer.write(b"x" * (20 << 20))
print("written", flush=True)
sys.stdin.read()
"""
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout.readline() == b"written\n"
        os.kill(child.pid, signal.SIGKILL)
    assert keys(directory) == []
    assert directory.prune(datetime.now(UTC) - timedelta(hours=1)) == 0
    assert directory.prune(datetime.now(UTC) + timedelta(hours=1)) == 1
    assert list((directory.base / STAGING).iterdir()) == []
