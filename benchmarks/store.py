"""The chunk store against the file system and the hash alone: `python benchmarks/store.py [MIB] [RUNS] [OUT.json] [DIRECTORY]`.

Each run writes, verifies and writes once more the same random bytes, and writes and verifies them sealed, next to a plain synced
file write and BLAKE3 over the same bytes with as many threads as the store has. Medians of GB/s (10^9 bytes) are printed and
written as JSON.
"""

import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from blake3 import blake3

from chrek_agent.store.chunking import CHUNK
from chrek_agent.store.model import Fields, Manifest, Owner, Source
from chrek_agent.store.protection import Protection
from chrek_agent.store.sealing import Keyring
from chrek_agent.store.store import Store
from chrek_agent.store.writer import WORKERS

HASH = "5941a4cb3c363457"


def timed(work: Callable[[], object]) -> float:
    """Seconds; what earlier work has left to be written is written before."""
    os.sync()
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def write_plain(path: Path, data: memoryview) -> None:
    with path.open("wb", buffering=0) as file:
        for start in range(0, len(data), CHUNK):
            file.write(data[start : start + CHUNK])
        os.fsync(file.fileno())


def hash_alone(data: memoryview) -> None:
    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(lambda start: blake3(data[start : start + CHUNK]).digest(), range(0, len(data), CHUNK)))


def capture(store: Store, generation: str, data: memoryview) -> tuple[Manifest, str]:
    """Writes the bytes as one run by the store's pool, as a capture does; the copy into its buffers is counted."""
    source = Source(node="", pod="", container="", image="", image_id="", worker=1, pids=[1], pipes={})
    with store.begin(generation) as writer:
        run = writer.add_run("private", 1, 0)
        for start in range(0, len(data), CHUNK):
            buffer = writer.buffer()
            length = min(CHUNK, len(data) - start)
            buffer.view[:length] = data[start : start + length]
            run.submit(buffer, length)
        run.close()
        owner = Owner(namespace="", name="", uid="")
        created = datetime.now(UTC)
        fields = Fields(
            identity_hash=HASH, identity={}, created_at=created, owner=owner, source=source, compatibility={}, deleted=[]
        )
        return writer.commit(fields)


def drop_cache(directory: Path) -> None:
    """Of these files only: what was synced can be dropped without harm to anybody else."""
    for path in directory.rglob("*.pack"):
        descriptor = os.open(path, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def measure(data: memoryview, directory: Path) -> dict[str, float]:
    store = Store.at(directory / "store")
    committed: list[tuple[Manifest, str]] = []
    plain = directory / "plain"
    seconds = {"plain write": timed(lambda: write_plain(plain, data))}
    plain.unlink()
    seconds["blake3 alone"] = timed(lambda: hash_alone(data))
    seconds["store write"] = timed(lambda: committed.append(capture(store, "g1", data)))
    verify = lambda: store.verify(HASH, "g1", committed[0][1])  # noqa: E731 - timed twice
    seconds["store verify, warm"] = timed(verify)
    drop_cache(directory)
    seconds["store verify, cold"] = timed(verify)
    sealed = Store(store.backend, store.scratch, protection=Protection(Keyring(os.urandom(32))))
    seconds["sealed write"] = timed(lambda: committed.append(capture(sealed, "g3", data)))
    seconds["sealed verify, warm"] = timed(lambda: sealed.verify(HASH, "g3", committed[1][1]))
    store.delete(HASH, {"g3"})
    seconds["store write again"] = timed(lambda: committed.append(capture(store, "g2", data)))
    assert committed[2][0].sizes.stored == 0, "the second write was not deduplicated"
    return {name: len(data) / 1e9 / value for name, value in seconds.items()}


def main(mib: int, runs: int, out: str, where: str) -> None:
    data = memoryview(bytearray(os.urandom(mib << 20)))
    rows = []
    for number in range(runs):
        with tempfile.TemporaryDirectory(dir=where) as directory:
            rows.append(measure(data, Path(directory)))
        print(number + 1, {name: round(value, 2) for name, value in rows[-1].items()}, file=sys.stderr)
    result = {
        "at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "machine": {"kernel": platform.release(), "cpus": len(os.sched_getaffinity(0)), "workers": WORKERS},
        "bytes": len(data),
        "runs": rows,
        "median_gb_per_second": {name: round(statistics.median(row[name] for row in rows), 3) for name in rows[0]},
    }
    text = json.dumps(result, indent=1)
    print(text)
    if out:
        Path(out).write_text(f"{text}\n")


if __name__ == "__main__":
    given = dict(enumerate(sys.argv[1:]))
    main(int(given.get(0, "1024")), int(given.get(1, "3")), given.get(2, ""), given.get(3, tempfile.gettempdir()))
