"""Stores in buckets and registries against their servers alone: `python benchmarks/storage.py [MIB] [RUNS] [OUT.json] [DIRECTORY]`.

Each run writes random bytes as a capture does and reads them as a restore does, each chunk checked, next to plain requests for as
many bytes to the same server by as many threads. Both servers run on this machine and share its processors with us. Medians of
GB/s (10^9 bytes) are printed and written as JSON, with the most memory that we took for it.
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
from chrek_agent.store.chunking import CHUNK
from chrek_agent.store.model import Fields, Owner, Source
from chrek_agent.store.oci.backend import PART, RegistryBackend
from chrek_agent.store.oci.login import Login
from chrek_agent.store.oci.manifests import digest_of
from chrek_agent.store.s3 import S3Backend
from chrek_agent.store.s3uploads import Credentials
from chrek_agent.store.store import Store
from chrek_agent.store.where import Bucket, Repository
from chrek_agent.store.writer import WORKERS
from kubectl_chrek.local import remotes

HASH = "5941a4cb3c363457"


@dataclass
class Subject:
    """A backend, and how to send its server the same bytes without it: URLs to put parts to and to get them from."""

    backend: object
    put_urls: Callable[[list[bytes]], list[str]]
    get_urls: Callable[[list[bytes]], list[str]]


@contextmanager
def s3(directory: Path) -> Iterator[Subject]:
    with remotes.seaweedfs(directory) as endpoint:
        credentials = Credentials(remotes.ACCESS_KEY, remotes.SECRET_KEY)
        backend = S3Backend(Bucket(remotes.BUCKET, "store", endpoint, path_style=True), credentials=credentials)

        def urls(method: str, parts: list[bytes]) -> list[str]:
            return [obstore.sign(backend._store, method, f"raw/{number}", timedelta(hours=1)) for number in range(len(parts))]

        yield Subject(backend, lambda parts: urls("PUT", parts), lambda parts: urls("GET", parts))


@contextmanager
def oci(directory: Path) -> Iterator[Subject]:
    with remotes.registry(directory) as host:
        backend = RegistryBackend(Repository(host, "store", plain_http=True), login=Login())

        def put_urls(parts: list[bytes]) -> list[str]:
            return [f"{begin(host)}&digest={digest_of(part)}" for part in parts]

        yield Subject(backend, put_urls, lambda parts: [f"http://{host}/v2/raw/blobs/{digest_of(part)}" for part in parts])


def begin(host: str) -> str:
    connection = http.client.HTTPConnection(host)
    connection.request("POST", "/v2/raw/blobs/uploads/")
    place = connection.getresponse().headers["Location"]
    connection.close()
    return urljoin(f"http://{host}/", place)


def send(url: str, body: bytes | None, start: int | None = None) -> None:
    """One plain request, for 2 MiB from `start` if it is given; the answer is read into one buffer again and again."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc)
    headers = {} if start is None else {"Range": f"bytes={start}-{start + CHUNK - 1}"}
    connection.request("GET" if body is None else "PUT", f"{parts.path}?{parts.query}", body=body, headers=headers)
    answer = connection.getresponse()
    assert answer.status < 300, answer.read()
    buffer = bytearray(CHUNK)
    while answer.readinto(buffer):
        pass
    connection.close()


def send_all(urls: list[str], bodies: list[bytes] | None, threads: int) -> None:
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(send, urls, bodies or [None] * len(urls)))


def get_ranges(urls: list[str], threads: int) -> None:
    """The same in pieces of 2 MiB, as a restore asks for chunks."""
    pieces = [(url, None, start) for url in urls for start in range(0, PART, CHUNK)]
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda piece: send(*piece), pieces))


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
        chunks = artifact.chunks(artifact.manifest.memory[0])
        work_off(chunks, lambda chunk, buffer: artifact.check(chunk, artifact.fetch(chunk, buffer)), threads=REMOTE_THREADS,
                 stop=threading.Event())  # fmt: skip


def memory(word: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(f"{word}:"))


def measured(work: Callable[[], object]) -> tuple[float, int]:
    """Seconds, and bytes of memory taken for it."""
    os.sync()
    Path("/proc/self/clear_refs").write_text("5")
    before, begun = memory("VmRSS"), time.perf_counter()
    work()
    return time.perf_counter() - begun, memory("VmHWM") - before


def one(subject: Subject, scratch: Path, number: int, size: int) -> dict[str, float]:
    data = bytearray(os.urandom(size))
    parts = [bytes(data[start : start + PART]) for start in range(0, size, PART)]
    store = Store(subject.backend, scratch)
    found = {}

    def note(name: str, work: Callable[[], object]) -> None:
        seconds, taken = measured(work)
        found[name] = size / seconds / 1e9
        found[f"{name}_mib"] = taken / 2**20

    put_urls = subject.put_urls(parts)
    digests = []
    note("raw_write", lambda: send_all(put_urls, parts, WORKERS))
    data[:8] = number.to_bytes(8, "little")
    note("write", lambda: digests.append(capture(store, f"g-{number}", memoryview(data))))
    note("raw_read", lambda: send_all(subject.get_urls(parts), None, WORKERS))
    note("raw_ranges", lambda: get_ranges(subject.get_urls(parts), REMOTE_THREADS))
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
        medians["read_share_of_ranges"] = round(statistics.median(run["read"] / run["raw_ranges"] for run in found), 2)
        results[name] = medians
        print(name, json.dumps(medians))
    results["load_after"] = os.getloadavg()
    if len(sys.argv) > 3:
        Path(sys.argv[3]).write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
