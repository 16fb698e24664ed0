"""A blob on its way to a registry: by one request, and after a cut from where the registry says that the upload stands.

One request costs the least, and all registries take it. After a cut the rest goes in chunks that the registry acknowledges one by
one, as some know only of whole requests what they have. Where a registry does not say, the upload is begun anew.
"""

import re
import time
from contextlib import suppress
from typing import Final

from chrek_agent.store.chunking import Buffer
from chrek_agent.store.oci.client import Answer, Client
from chrek_agent.store.refusals import StorageError

CHUNK: Final = 2 << 20
"""Bytes of a request after a cut, unless the registry wants more."""
_OCTETS: Final = {"Content-Type": "application/octet-stream"}
_TAKEN: Final = (200, 201, 202, 204)
_NOT_THERE: Final = 416
_UNKNOWN: Final = (400, 404, 405)
_FAULTY: Final = (500, 501)
"""Some registries fail where they are asked for what they do not know."""
_STANDS: Final = re.compile(r"(?:bytes[= ])?0-(\d+)")


class Upload:
    """One blob, sent once.

    Args:
        client: Of its repository.
        digest: Its name, by which the registry checks it.
        content: All of it.
    """

    def __init__(self, client: Client, digest: str, content: Buffer) -> None:
        self._client = client
        self._digest = digest
        self._content = memoryview(content)
        self._place = ""
        self._done = 0
        self._chunk, self._least = len(content), 0

    def run(self) -> None:
        """Ends when the registry has it; raises StorageError when it refuses, or has not got it after all tries."""
        patience = self._client.patience
        for attempt in range(1, patience.retries + 2):
            if attempt > 1:
                time.sleep(patience.wait(attempt - 1))
                if self._is_there():  # Of an upload whose answer was lost nothing is to be sent again.
                    return
                if self._place:
                    self._look()
            if not self._place:
                self._begin()
            try:
                if self._send():
                    return
            except StorageError:
                if attempt > patience.retries:
                    raise
        raise self._client.error("it took an upload again and again and never had it")

    def _is_there(self) -> bool:
        return self._client.ask("HEAD", f"blobs/{self._digest}", good=(200, 404)).status == 200

    def _begin(self) -> None:
        answer = self._client.ask("POST", "blobs/uploads/", good=(202,))
        self._place, self._done = answer.headers["location"], 0
        least = answer.headers.get("oci-chunk-min-length", "")
        self._least = int(least) if least.isdecimal() else 0

    def _look(self) -> None:
        """Asks where the upload stands; forgets it where that is not known."""
        stands = None
        with suppress(StorageError):
            answer = self._client.ask("GET", self._place, good=(*_TAKEN, *_UNKNOWN, *_FAULTY, _NOT_THERE))
            stands = self._stands(answer) if answer.status in _TAKEN else None
        self._chunk = CHUNK
        if stands is None:
            self._place = ""
        else:
            self._done = stands

    def _send(self) -> bool:
        """False where it is to be tried again."""
        if not self._done and self._chunk >= len(self._content):
            return self._finish(self._content)
        while self._done < len(self._content):
            if not self._send_chunk(self._content[self._done : self._done + max(self._chunk, self._least)]):
                return False
        return self._finish(b"")

    def _send_chunk(self, chunk: memoryview) -> bool:
        before, end = self._done, self._done + len(chunk)
        headers = {**_OCTETS, "Content-Range": f"{before}-{end - 1}"}
        good = (*_TAKEN, *_UNKNOWN, _NOT_THERE)
        answer = self._client.ask("PATCH", self._place, body=chunk, headers=headers, good=good, once=True)
        if answer.status in _TAKEN:
            stands = self._stands(answer)
            self._done = end if stands is None else stands
            return self._done > before
        if answer.status != _NOT_THERE:
            self._give_up_chunks()
        return False

    def _finish(self, rest: Buffer) -> bool:
        """The registry compares the digest; what came over damaged is sent anew."""
        whole = f"{self._place}{'&' if '?' in self._place else '?'}digest={self._digest}"
        good = (201, 204, *_UNKNOWN, _NOT_THERE)
        answer = self._client.ask("PUT", whole, body=rest, headers=_OCTETS, good=good, once=True)
        if answer.status in _TAKEN:
            return True
        self._give_up_chunks()
        return False

    def _give_up_chunks(self) -> None:
        """Not all registries take them."""
        self._place, self._chunk = "", len(self._content)

    def _stands(self, answer: Answer) -> int | None:
        """How many bytes the registry has, as it says, and where it wants the next."""
        self._place = answer.headers.get("location", self._place)
        found = _STANDS.fullmatch(answer.headers.get("range", ""))
        if found is None or int(found[1]) >= len(self._content):
            return None
        last = int(found[1])
        return last + 1 if last else 0  # An upload of nothing stands at 0-0 as one of a byte does.
