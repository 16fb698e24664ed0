"""After a restore: what a worker had kept apart is handed back, and nobody uses any of it before all has been verified.

GPU memory that the agent has loaded beside the restore is given to the worker as it is; of all else, what it may read directly is
given to it as files. Verifying goes on beside the restore, and beside the loading, whose end waits for it. What is left is verified
chunk by chunk, and copied into the worker's slot then.
"""

import asyncio
import mmap
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, nullcontext
from types import TracebackType
from typing import Any, Final, Self

from chrek_agent.apart.beside import Beside, Handle, Place
from chrek_agent.apart.channel import BATCH, ApartError, Peer, close_all, number
from chrek_agent.apart.layout import Chunked, Files, Layout, chunked, lay_out
from chrek_agent.apart.listener import Listener
from chrek_agent.apart.shares import Key
from chrek_agent.apart.slot import Call, Slot, converse
from chrek_agent.container import acceptance
from chrek_agent.container.discovery import Container
from chrek_agent.errors import ArtifactError, RestoreError
from chrek_agent.memory.checking import Checkers
from chrek_agent.memory.pool import Stopped
from chrek_agent.store.artifact import Artifact
from chrek_agent.store.chunking import CHUNK
from chrek_agent.store.model import APART, Run
from chrek_agent.store.reading import Chunk
from chrek_agent.telemetry.timing import Phases
from kubectl_chrek.api import names

_ZERO: Final = bytes(CHUNK)
_RATE: Final = 100 << 20
"""Bytes per second, the least with which a store is waited for."""


class Serving:
    """Hands back what is apart, while it is open; nothing happens for an artifact without.

    Args:
        container: The worker's new container.
        artifact: Open, for longer than this.
        place: Says which GPU is which here; without it the agent loads none of their memory.
    """

    def __init__(self, container: Container, artifact: Artifact, place: Place | None = None) -> None:
        self._container = container
        self._artifact = artifact
        self._owners: dict[int, list[Run]] = {}
        for run in artifact.manifest.memory:
            if run.kind == APART:
                self._owners.setdefault(run.owner, []).append(run)
        self._files = Files(artifact)
        self._beside = Beside(artifact, container, place) if place is not None else None
        self._is_loaded_beside = False
        self.layouts: dict[int, Layout] = {}
        self._chunks: dict[tuple[int, int], dict[int, Chunk]] = {}
        self._stop = threading.Event()
        self._begin = threading.Event()
        self._laid_out = threading.Event()
        self._verified = threading.Event()
        self._trouble: Exception | None = None
        self._lock = threading.Lock()
        self._handing = threading.Lock()
        self._loaded: set[int] = set()
        self._listener: Listener | None = None
        self._verifier = threading.Thread(target=self._verify, name="apart-verify", daemon=True)
        self._loop = asyncio.get_running_loop()
        self.done = asyncio.Event()

    @property
    def bytes(self) -> int:
        """All that is apart."""
        return sum(run.length for runs in self._owners.values() for run in runs)

    async def __aenter__(self) -> Self:
        if self._owners:
            self._is_loaded_beside = self._beside is not None and self._beside.start()
            self._listener = await asyncio.to_thread(Listener, self._container, self._serve)
            self._verifier.start()
        return self

    def verify(self) -> None:
        """Begins to verify, with all processors, beside whatever else is done; to be called before the worker runs."""
        self._begin.set()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await asyncio.shield(asyncio.to_thread(self._close))

    def _close(self) -> None:
        self._stop.set()
        self._begin.set()
        if self._beside is not None:
            self._beside.close()
        if self._listener is not None:
            self._verifier.join()
            self._listener.close()
        self._files.close()

    async def accept(self, record: acceptance.Record, wake: Callable[[], None], phases: Phases, *, check: bool) -> None:
        """Lets the worker run, which takes what is apart back, and then has it accepted.

        Args:
            record: For `acceptance.accept`.
            wake: Lets it run.
            phases: Gets `apart`, if anything is, and `accept`.
            check: For `acceptance.accept`.

        Raises:
            ArtifactError: What is apart is not what was captured.
            RestoreError: It is not well.
        """
        seconds = acceptance.ACCEPT_SECONDS + self.bytes / _RATE
        with phases.phase("apart") if self._owners else nullcontext():
            wake()
            asking = asyncio.ensure_future(acceptance.accept(self._container, record, check=check, seconds=seconds))
            try:
                if self._owners:
                    await self._handed_back(asking)
            except BaseException:
                asking.cancel()
                raise
        if self.done.is_set():
            phases.moved("apart", self.bytes)
        with phases.phase("accept"):
            try:
                await asking
            except RestoreError:
                self._raise_failure()
                raise
        if self._owners and not self.done.is_set():
            raise RestoreError("the restored worker has not taken back what it kept apart", cause=names.Cause.NOT_ACCEPTED)

    async def _handed_back(self, asking: "asyncio.Future[None]") -> None:
        """Until the worker has all of it, or has answered; raises ArtifactError as soon as something is not what was captured."""
        done = asyncio.ensure_future(self.done.wait())
        verified = asyncio.ensure_future(asyncio.to_thread(self._wait, self._verified))
        try:
            await asyncio.wait((asking, done, verified), return_when=asyncio.FIRST_COMPLETED)
            if verified.done():
                verified.result()
            await asyncio.wait((asking, done), return_when=asyncio.FIRST_COMPLETED)
        finally:
            done.cancel()
            verified.cancel()

    def _raise_failure(self) -> None:
        """Raises what kept us from handing something back: the worker only says that it did not get it."""
        if self._listener is not None and isinstance(self._listener.failure, ArtifactError):
            raise self._listener.failure

    def _wait(self, event: threading.Event) -> None:
        event.wait()
        if self._trouble is not None:
            raise self._trouble

    def _verify(self) -> None:
        try:
            # Processes that will have something to check are started at once: they take a moment to be there.
            checkers = Checkers(0 if self._is_loaded_beside else self.bytes)
            with closing(checkers):
                self._verify_all(checkers)
        except Stopped:
            self._trouble = RestoreError("the restore has ended")
        except Exception as error:
            self._trouble = error
        finally:
            self._laid_out.set()
            self._verified.set()

    def _verify_all(self, checkers: Checkers) -> None:
        # Any earlier it would hold the restore's first steps up by more than the loaders gain.
        self._begin.wait()
        found = {owner: chunked(self._artifact, runs) for owner, runs in self._owners.items()}
        given = self._beside.tell(found) if self._beside is not None else set()
        self.layouts = {owner: lay_out(each, self._files) for owner, each in found.items()}
        self._laid_out.set()
        self._check(found, lambda key: key not in given, checkers)
        if self._beside is not None and given:
            lost = self._beside.lost()
            with closing(Checkers(self.bytes if lost else 0)) as others:
                self._check(found, lambda key: key in lost, others)

    def _check(self, found: Mapping[int, Chunked], wanted: Callable[[Key], bool], checkers: Checkers) -> None:
        """Compares what lies in files with its digests. Raises ArtifactError, Stopped."""
        runs = [chunks for owner, each in found.items() for run, chunks in each if wanted((owner, run.start))]
        places = {(chunk.place.pack, chunk.place.offset): chunk for chunks in runs for chunk in chunks if self._files.has(chunk)}
        checkers.check(self._artifact, [places[key] for key in sorted(places)], stop=self._stop)

    def _serve(self, peer: Peer) -> None:
        """One connection, until it ends."""
        if peer.owner not in self._owners:
            raise ApartError("nothing was kept apart by this process")
        buffer = memoryview(mmap.mmap(-1, CHUNK))
        calls: dict[str, Call] = {
            "load": lambda message, _: self._load(peer, takes_handles=message.get("handles") is True),
            "fetch": lambda message, slot: self._fetch(peer, message, Slot(slot), buffer),
            "loaded": lambda *_: self._note(peer),
        }
        converse(peer, calls, acknowledge=False)

    def _load(self, peer: Peer, *, takes_handles: bool) -> None:
        self._wait(self._laid_out)
        layout, descriptors = self.layouts[peer.owner], self._files.descriptors
        if layout.fetched:
            self._expect(peer.owner)
        handles = self._handles(peer.owner, takes_any=takes_handles)
        peer.send(
            {
                "regions": [[run.start, run.length] for run in self._owners[peer.owner]],
                "extents": layout.extents,
                "fetched": layout.fetched,
                "files": len(descriptors),
                "handles": [[handle.allocation.address, handle.allocation.length] for handle in handles],
            }
        )
        for first in range(0, len(descriptors), BATCH):
            peer.send({"ok": True}, descriptors[first : first + BATCH])
        with self._handing:
            for first in range(0, len(handles), BATCH):
                _hand(peer, handles[first : first + BATCH])

    def _handles(self, owner: int, *, takes_any: bool) -> list[Handle]:
        if self._beside is None:
            return []
        if not takes_any:
            self._beside.give_up("the worker's library is too old to take it")
            return []
        return self._beside.handles(owner)

    def _expect(self, owner: int) -> None:
        """A store that is elsewhere reads ahead what will be asked for."""
        if self._artifact.is_remote:
            self._artifact.expect(chunk for run in self._owners[owner] for chunk in self._artifact.chunks(run))

    def _fetch(self, peer: Peer, message: dict[str, Any], slot: Slot, buffer: memoryview) -> None:
        start, offset, length = (number(message, name) for name in ("start", "offset", "length"))
        run = next((run for run in self._owners[peer.owner] if run.start == start), None)
        if run is None or offset % CHUNK or not 0 < length <= slot.size or offset + length > run.length:
            raise ApartError("the piece is of nothing that was kept")
        chunks = self._chunks_of(run)
        for at in range(0, length, CHUNK):
            size, chunk = min(CHUNK, length - at), chunks.get(offset + at)
            self._put(slot, at, size, chunk, buffer)
        peer.send({"ok": True})

    def _put(self, slot: Slot, at: int, size: int, chunk: Chunk | None, buffer: memoryview) -> None:
        """A chunk into a slot, its zeros too: there may be something else in it."""
        position = 0
        if chunk is not None:
            dense = self._artifact.fetch(chunk, buffer)
            self._artifact.check(chunk, dense)
            for offset, content in self._artifact.pieces(chunk, dense):
                _write(slot.descriptor, memoryview(_ZERO)[: max(0, min(offset, size) - position)], at + position)
                _write(slot.descriptor, content[: max(0, size - offset)], at + offset)
                position = offset + len(content)
        _write(slot.descriptor, memoryview(_ZERO)[: max(0, size - position)], at + position)

    def _chunks_of(self, run: Run) -> dict[int, Chunk]:
        with self._lock:
            key = run.owner, run.start
            if key not in self._chunks:
                self._chunks[key] = {chunk.offset: chunk for chunk in self._artifact.chunks(run)}
            return self._chunks[key]

    def _note(self, peer: Peer) -> None:
        """Its program goes on when it has our answer."""
        self._wait(self._verified)
        with self._lock:
            self._loaded.add(peer.owner)
            complete = self._loaded == self._owners.keys()
        peer.send({"ok": True})
        if complete:
            if self._beside is not None:
                self._beside.spend()
            self._loop.call_soon_threadsafe(self.done.set)


def _hand(peer: Peer, handles: Sequence[Handle]) -> None:
    """By descriptors that nobody closes meanwhile, whatever the worker says on other connections."""
    held: list[int] = []
    try:
        held += (handle.descriptor() for handle in handles)
        peer.send({"ok": True}, held)
    finally:
        close_all(held)


def _write(descriptor: int, content: memoryview, offset: int) -> None:
    while content:
        count = os.pwrite(descriptor, content, offset)
        content, offset = content[count:], offset + count
