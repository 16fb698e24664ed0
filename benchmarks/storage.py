"""Stores in buckets and registries against their servers alone: `python benchmarks/storage.py [MIB] [RUNS] [OUT.json] [DIRECTORY]`.

Each run writes random bytes as a capture does and reads them as a restore does, each chunk checked. Beside it a plain client sends
and fetches as many bytes by the same kind of requests, of the same size and by as many threads: to S3 multipart uploads of objects
from memory, to a registry blobs, which have to be named by their digests; from both pieces as large as ours, received by Python's
HTTP client on connections that stay open, each straight into the one buffer of its thread, looked at by nobody. Both servers run
on this machine and share its processors with us. Medians of GB/s (10^9 bytes), of our own processor time in seconds per GB (`_cpu`)
and of the memory that we took for it are printed and written as JSON.
"""

import http.client
import json
import os
import platform
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import obstore

from chrek_agent.memory.pool import REMOTE_THREADS, work_off
from chrek_agent.store.ahead import SPAN
from chrek_agent.store.chunking import CHUNK
from chrek_agent.store.model import Fields, Owner, Source
from chrek_agent.store.oci.backend import RegistryBackend
from chrek_agent.store.oci.login import Login
from chrek_agent.store.oci.manifests import digest_of
from chrek_agent.store.pace import FIRST
from chrek_agent.store.s3 import PARALLEL, S3Backend
from chrek_agent.store.s3 import PART as S3_PART
from chrek_agent.store.s3uploads import Credentials
from chrek_agent.store.store import Store
from chrek_agent.store.where import Bucket, Repository
from chrek_agent.store.writer import WORKERS
from kubectl_chrek.local import remotes

HASH = "5941a4cb3c363457"
Piece = tuple[str, int | None]
"""A URL, and where a piece of `SPAN` bytes begins in what is there; None: it is all of it."""


@dataclass
class Subject:
    """A backend, and a plain client of its server: `put` writes an object from memory, `url` is where to get it from."""

    backend: object
    put: Callable[[str, list[bytes]], object]
    url: Callable[[str, int, bytes], str]


@contextmanager
def s3(directory: Path) -> Iterator[Subject]:
    with remotes.seaweedfs(directory) as endpoint:
        credentials = Credentials(remotes.ACCESS_KEY, remotes.SECRET_KEY)
        backend = S3Backend(Bucket(remotes.BUCKET, "store", endpoint, path_style=True), credentials=credentials)
        plain = backend._store

        def put(name: str, parts: list[bytes]) -> None:
            obstore.put(plain, name, iter(parts), use_multipart=True, chunk_size=S3_PART, max_concurrency=PARALLEL)

        yield Subject(backend, put, lambda name, number, part: obstore.sign(plain, "GET", name, timedelta(hours=1)))


@contextmanager
def oci(directory: Path) -> Iterator[Subject]:
    with remotes.registry(directory) as host:
        backend = RegistryBackend(Repository(host, "store", plain_http=True), login=Login())

        def put(name: str, parts: list[bytes]) -> None:
            for part in parts:
                send(f"{begin(host)}&digest={digest_of(part)}", part)

        yield Subject(backend, put, lambda name, number, part: f"http://{host}/v2/raw/blobs/{digest_of(part)}")


def begin(host: str) -> str:
    connection = http.client.HTTPConnection(host)
    connection.request("POST", "/v2/raw/blobs/uploads/")
    place = connection.getresponse().headers["Location"]
    connection.close()
    return urljoin(f"http://{host}/", place)


def send(url: str, body: bytes) -> None:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc)
    connection.request("PUT", f"{parts.path}?{parts.query}", body=body)
    answer = connection.getresponse()
    assert answer.status < 300, answer.read()
    connection.close()


def put_all(subject: Subject, shares: list[list[bytes]]) -> None:
    """One object for each thread, as a capture writes its packs."""
    with ThreadPoolExecutor(len(shares)) as pool:
        list(pool.map(subject.put, [f"raw/{number}" for number in range(len(shares))], shares))


def get_all(pieces: list[Piece]) -> None:
    left = iter(pieces)
    with ThreadPoolExecutor(FIRST) as pool:
        for done in [pool.submit(get_some, urlsplit(pieces[0][0]).netloc, left) for _ in range(FIRST)]:
            done.result()


def get_some(host: str, pieces: Iterator[Piece]) -> None:
    connection, buffer = http.client.HTTPConnection(host), memoryview(bytearray(SPAN))
    for url, start in pieces:
        parts = urlsplit(url)
        headers = {} if start is None else {"Range": f"bytes={start}-{start + SPAN - 1}"}
        connection.request("GET", f"{parts.path}?{parts.query}", headers=headers)
        answer, done = connection.getresponse(), 0
        assert answer.status < 300, answer.read()
        while count := answer.readinto(buffer[done:]):
            done += count
    connection.close()


def pieces_of(subject: Subject, shares: list[list[bytes]]) -> list[Piece]:
    """URLs and starts of all that was put, in pieces of SPAN; a registry's blobs are that large."""
    found: list[Piece] = []
    for number, parts in enumerate(shares):
        for index, part in enumerate(parts):
            url = subject.url(f"raw/{number}", index, part)
            found.append((url, None if "/blobs/" in url else index * SPAN))
    return found


def capture(store: Store, generation: str, data: memoryview) -> str:
    source = Source(node="", pod="", container="", image="", image_id="", worker=1, pids=[1], pipes={})
    with store.begin(generation) as writer:
        run = writer.add_run("private", 1, 0)
        for start in range(0, len(data), CHUNK):
            buffer = writer.buffer()
            buffer.view[:] = data[start : start + CHUNK]
            run.submit(buffer, CHUNK)
        run.close()
        owner = Owner(namespace="", name="", uid="")
        fields = Fields(
            identity_hash=HASH, identity={}, created_at=datetime.now(UTC), owner=owner, source=source, compatibility={}, deleted=[]
        )
        return writer.commit(fields)[1]


def restore(store: Store, generation: str, digest: str) -> None:
    """By the pool that fills a restored tree's memory, into buffers that are thrown away."""
    with store.open(HASH, generation, digest) as artifact:
        chunks = list(artifact.chunks(artifact.manifest.memory[0]))
        artifact.expect(chunks)
        work_off(chunks, lambda chunk, buffer: artifact.check(chunk, artifact.fetch(chunk, buffer)), threads=REMOTE_THREADS,
                 stop=threading.Event())  # fmt: skip


def memory(word: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(f"{word}:"))


def measured(work: Callable[[], object]) -> tuple[float, float, int]:
    """Seconds, seconds of our processor time, and bytes of memory taken for it."""
    os.sync()
    Path("/proc/self/clear_refs").write_text("5")
    before, spent, begun = memory("VmRSS"), time.process_time(), time.perf_counter()
    work()
    return time.perf_counter() - begun, time.process_time() - spent, memory("VmHWM") - before


def one(subject: Subject, scratch: Path, number: int, size: int) -> dict[str, float]:
    data = bytearray(os.urandom(size))
    parts = [bytes(data[start : start + SPAN]) for start in range(0, size, SPAN)]
    shares = [parts[number::WORKERS] for number in range(WORKERS)]
    for start in range(0, size, CHUNK):  # What was sent once, a registry would know.
        data[start : start + 8] = os.urandom(8)
    store = Store(subject.backend, scratch)
    found = {}

    def note(name: str, work: Callable[[], object]) -> None:
        seconds, spent, taken = measured(work)
        found[name] = size / seconds / 1e9
        found[f"{name}_cpu"] = spent / size * 1e9
        found[f"{name}_mib"] = taken / 2**20

    digests = []
    note("raw_write", lambda: put_all(subject, shares))
    note("write", lambda: digests.append(capture(store, f"g-{number}", memoryview(data))))
    pieces = pieces_of(subject, shares)
    note("raw_read", lambda: get_all(pieces))
    note("read", lambda: restore(store, f"g-{number}", digests[0]))
    return found


def main() -> None:
    size = int(sys.argv[1] if len(sys.argv) > 1 else 256) << 20
    runs = int(sys.argv[2] if len(sys.argv) > 2 else 3)
    results: dict[str, object] = {
        "mib": size >> 20,
        "runs": runs,
        "processors": os.cpu_count(),
        "load": os.getloadavg(),
        "python": platform.python_version(),
    }
    where = sys.argv[4] if len(sys.argv) > 4 else "/var/tmp"
    for name, serve in (("s3 (SeaweedFS)", s3), ("oci (docker-registry)", oci)):
        with (
            tempfile.TemporaryDirectory(dir=where) as base,
            serve(Path(base)) as subject,
        ):
            found = [one(subject, Path(base) / "scratch", number, size) for number in range(runs)]
        medians = {key: round(statistics.median(run[key] for run in found), 3) for key in found[0]}
        medians["write_share"] = round(statistics.median(run["write"] / run["raw_write"] for run in found), 2)
        medians["read_share"] = round(statistics.median(run["read"] / run["raw_read"] for run in found), 2)
        results[name] = medians
        print(name, json.dumps(medians))
    results["load_after"] = os.getloadavg()
    if len(sys.argv) > 3:
        Path(sys.argv[3]).write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
