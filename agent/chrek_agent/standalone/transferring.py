"""`export`, `import` and `copy`: artifacts that travel between stores. Each returns its exit code and raises ChrekError."""

import argparse
import asyncio
import base64
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from chrek_agent.errors import AgentError, ArtifactError
from chrek_agent.standalone import output
from chrek_agent.standalone.references import absolute, resolve, said
from chrek_agent.store.ownership import offer
from chrek_agent.store.store import Store
from chrek_agent.store.transfer import copying
from chrek_agent.store.transfer.receiving import Received, Receiving, opening, receive
from chrek_agent.store.transfer.sending import Sending, order
from chrek_agent.store.where import open_store
from kubectl_chrek.api.artifact_file import MAGIC, measure, read_parts
from kubectl_chrek.api.errors import UsageError

STANDARD: Final = "-"
_EVERY_SECONDS: Final = 0.5


async def export(args: argparse.Namespace) -> int:
    """Writes an artifact to a file, continuing one that was cut off, or to standard output."""
    store, (identity_hash, generation, digest) = await asyncio.to_thread(_find, args)
    if args.skip is not None and args.file != STANDARD:
        raise UsageError("--skip is for standard output; a file is continued by itself")
    with _said(), Sending(store, identity_hash, generation, digest, squeeze=not args.raw) as sending:
        if args.file == STANDARD:
            await asyncio.to_thread(_write, sending, sys.stdout.buffer, args.skip)
            return 0
        size = await asyncio.to_thread(_to_file, sending, Path(args.file))
    found = {"artifact": f"{identity_hash}/{generation}", "file": args.file, "bytes": size, "chunks": sending.head.chunks}
    _tell(args, found, f"{found['artifact']}: {output.size(size)} in {args.file}")
    return 0


async def import_(args: argparse.Namespace) -> int:
    """Reads an artifact from a file or from standard input into the store."""
    store = _open(args.store)
    with _said(), closing(sys.stdin.buffer if args.file == STANDARD else Path(args.file).open("rb")) as source:  # noqa: ASYNC230
        if args.ask:
            output.write_json(await asyncio.to_thread(_lacking, store, source))
            return 0
        received = await asyncio.to_thread(receive, store, read_parts(source))
        if args.offer_to:
            received = await asyncio.to_thread(offer, store, received, args.offer_to)
    _tell_received(args, received)
    return 0


async def copy(args: argparse.Namespace) -> int:
    """Copies an artifact from the store to another."""
    store, reference = await asyncio.to_thread(_find, args)
    with _said():
        target, progress = _open(args.to), _told() if args.progress else None
        received = await asyncio.to_thread(copying.copy, store, target, *reference, progress)
        if args.offer_to:
            received = await asyncio.to_thread(offer, target, received, args.offer_to)
    _tell_received(args, received)
    return 0


def _open(location: str) -> Store:
    return open_store(absolute(location), _scratch())


def _scratch() -> Path:
    return Path(tempfile.gettempdir()) / f"chrek-{os.getpid()}"


def _find(args: argparse.Namespace) -> tuple[Store, tuple[str, str, str]]:
    """The store, and hash, generation and manifest's digest of the artifact that is meant. Raises ArtifactError."""
    found = resolve(args.artifact, args.store, _scratch())
    return found.store, found.named


def _write(sending: Sending, target: BinaryIO, skip: int | None) -> None:
    if skip is None:
        target.write(MAGIC)
    for part in sending.parts(skip):
        for piece in part.pieces:
            target.write(piece)
    target.flush()


def _to_file(sending: Sending, path: Path) -> int:
    """The file appears when it is whole and durable; until then it grows beside its place."""
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("a+b") as file:
        found = measure(file) if file.seek(0, os.SEEK_END) else None
        if found is not None and found.head != sending.head:
            raise ArtifactError(f"{partial} is a part of another artifact", hint="remove it, or export to another file")
        file.truncate(found.offset if found else 0)
        if found is None or not found.complete:
            _write(sending, file, found.chunks if found else None)
        os.fsync(file.fileno())
        size = file.seek(0, os.SEEK_END)
    partial.rename(path)
    return size


def _lacking(store: Store, source: BinaryIO) -> dict[str, object]:
    """What a sender may leave out: one bit for each chunk in the manifest's order, set where the store lacks it."""
    head, content = opening(read_parts(source))
    with Receiving(store, head, content) as receiving:
        bits = [receiving.lacks(digest) for digest in order(receiving.manifest)]
    field = sum(1 << number for number, bit in enumerate(bits) if bit).to_bytes(-(-len(bits) // 8), "little")
    return {"artifact": f"{head.identity_hash}/{head.generation}", "lacking": sum(bits), "bits": base64.b64encode(field).decode()}


def _told() -> Callable[[int, int], None]:
    """Tells the chunks that have been copied and all that were missing: at once, then now and again."""
    told = 0.0

    def tell(done: int, missing: int) -> None:
        nonlocal told
        if time.monotonic() - told >= _EVERY_SECONDS or done == missing:
            told = time.monotonic()
            output.write(f'{{"done": {done}, "missing": {missing}}}')
            sys.stdout.flush()

    return tell


def _tell_received(args: argparse.Namespace, received: Received) -> None:
    manifest = received.manifest
    found = {
        "artifact": f"{manifest.identity_hash}/{manifest.generation}",
        "digest": received.digest,
        "bytes": manifest.size,
        "fresh": received.fresh,
        "chunks": received.chunks,
        "storedBytes": received.bytes,
    }
    new = f"{received.chunks} new chunks, {output.size(received.bytes)}" if received.chunks else "all of it was there"
    _tell(args, found, f"{found['artifact']}: {output.size(manifest.size)}, {new}")


def _tell(args: argparse.Namespace, found: dict[str, object], text: str) -> None:
    output.write_json(found) if args.output == "json" else output.write(text)


@contextmanager
def _said() -> Iterator[None]:
    """What a store, a disk or a pipe refuses, as one line."""
    with said():
        try:
            yield
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes it once more at its end.
            raise AgentError("nobody reads the export any more") from None
