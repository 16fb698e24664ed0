"""Requests to a registry: with credentials, and sent again when it does not answer well, a bounded number of times."""

import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urljoin

import urllib3

from chrek_agent.store.chunking import Buffer
from chrek_agent.store.oci.login import Challenge, Login, parse_challenge
from chrek_agent.store.patience import Patience
from chrek_agent.store.refusals import StorageError, explain_status
from chrek_agent.store.straight import Straight
from chrek_agent.store.where import Repository

CONNECTIONS: Final = 32
_PIECE: Final = 512 << 10
_AGAIN: Final = frozenset({429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Answer:
    """What it said; names of headers are in lower case."""

    url: str
    status: int
    headers: Mapping[str, str] = field(repr=False)
    content: bytes = field(repr=False)
    length: int = 0
    """Bytes that went where the asker wanted them."""


class Client:
    """One repository. Any thread may use it."""

    def __init__(self, place: Repository, login: Login, patience: Patience) -> None:
        self.place = place
        self._login = login
        self.patience = patience
        self._base = f"{'http' if place.plain_http else 'https'}://{place.host}/v2/{place.name}/"
        self._pool = urllib3.PoolManager(
            maxsize=CONNECTIONS,
            retries=False,
            timeout=urllib3.Timeout(connect=patience.connect, read=patience.request),
            ca_certs=None if place.ca is None else str(place.ca),
        )
        self._lock = threading.Lock()
        self._authorization = ""
        self._others: set[str] = set()
        self._straight = Straight(patience)

    def read_from(self, name: str) -> None:
        """Asks for the right to read another repository of the registry too."""
        with self._lock:
            if name not in self._others:
                self._others.add(name)
                self._authorization = ""

    def reach(self, path: str, offset: int, into: memoryview) -> bool:
        """Whether a range of a content has come at once, straight into memory; if not, `ask` for it."""
        used = self._authorization
        return self._straight.read_into(urljoin(self._base, path), {"Authorization": used} if used else {}, offset, into)

    def ask(
        self,
        method: str,
        path: str,
        *,
        good: tuple[int, ...],
        body: Buffer | None = None,
        headers: Mapping[str, str] | None = None,
        once: bool = False,
        into: memoryview | None = None,
        skip: int = 0,
    ) -> Answer:
        """Sends a request.

        Args:
            method: As in HTTP.
            path: Below the repository, or a URL that it gave us.
            good: The statuses that the caller understands.
            body: What to send.
            headers: Besides those for credentials.
            once: The caller has another way to try again.
            into: Where to put a content in place of the answer's own, as far as there is room.
            skip: How much of a content that comes whole, though a range of it was asked for, is before that.

        Raises:
            StorageError: It answered otherwise, or not at all, again and again.
        """
        url = urljoin(self._base, path)
        if not self.place.plain_http:  # A registry behind a proxy may not know that it is spoken to by TLS.
            url = url.replace("http://", "https://", 1)
        begun, attempt, authorized = time.monotonic(), 0, False
        while True:
            used = self._authorization
            try:
                sent = {**(headers or {}), **({"Authorization": used} if used else {})}
                answer = self._send(method, url, body, sent, into, skip)
                failure = explain_status(answer.status)
            except urllib3.exceptions.HTTPError as error:
                if "CERTIFICATE_VERIFY_FAILED" in str(error):
                    raise self.error("its certificate is not trusted: give ?ca= with the authority's certificate") from error
                answer, failure = None, _explain(error)
            if answer is not None and answer.status in good:
                return answer
            if answer is not None and answer.status == 401 and not authorized:
                authorized = True
                self._authorize(answer.headers.get("www-authenticate", ""), used)
                continue
            if answer is not None and answer.status not in _AGAIN:
                raise self.error(f"{failure}{_words(answer.content)}")
            attempt += 1
            wait = self.patience.wait(attempt)
            if once or attempt > self.patience.retries or time.monotonic() - begun + wait > self.patience.total:
                raise self.error(failure)
            time.sleep(wait)

    def error(self, why: str) -> StorageError:
        """One line about this repository."""
        return StorageError(f"{self.place.url}: {why}")

    def _send(
        self, method: str, url: str, body: Buffer | None, headers: Mapping[str, str], into: memoryview | None, skip: int
    ) -> Answer:
        # A registry may send readers elsewhere; the client leaves our credentials out when it goes to another host.
        retries = urllib3.Retry(connect=0, read=0, status=0, other=0, redirect=3) if method in ("GET", "HEAD") else False
        options: dict[str, Any] = {"body": body, "preload_content": into is None}  # Any buffer, other than its types say.
        answer = self._pool.request(method, url, headers=headers, retries=retries, **options)
        found = {name.lower(): value for name, value in answer.headers.items()}
        if into is None or answer.status not in (200, 206):
            return Answer(url, answer.status, found, answer.data)
        return Answer(url, answer.status, found, b"", _pour(answer, 0 if answer.status == 206 else skip, into))

    def _authorize(self, header: str, refused: str) -> None:
        """Another thread may have done so meanwhile."""
        with self._lock:
            if self._authorization != refused:
                return
            challenge = parse_challenge(header)
            self._authorization = self._token(challenge) if challenge.scheme == "bearer" else self._login.basic

    def _token(self, challenge: Challenge) -> str:
        scopes = [f"repository:{self.place.name}:pull,push,delete", *(f"repository:{name}:pull" for name in sorted(self._others))]
        try:
            if self._login.token:
                fields = {"service": challenge.service, "scope": " ".join(scopes)}
                fields |= {"grant_type": "refresh_token", "refresh_token": self._login.token, "client_id": "chrek"}
                answer = self._pool.request("POST", challenge.realm, fields=fields, encode_multipart=False)
            else:
                headers = {"Authorization": self._login.basic} if self._login.basic else {}
                asked = [("service", challenge.service), *(("scope", scope) for scope in scopes)]
                answer = self._pool.request("GET", challenge.realm, fields=asked, headers=headers)
            found = json.loads(answer.data) if answer.status == 200 else {}
            token = found.get("token") or found.get("access_token")
        except (urllib3.exceptions.HTTPError, ValueError) as error:
            raise self.error("its token service does not answer") from error
        if not token:
            raise self.error(explain_status(401))
        return f"Bearer {token}"


def _pour(answer: urllib3.BaseHTTPResponse, skip: int, into: memoryview) -> int:
    """Copies what comes behind the first `skip` bytes; returns how many bytes there was room for."""
    done = 0
    try:
        for piece in answer.stream(_PIECE, decode_content=False):
            view = memoryview(piece)[skip:]
            skip = max(0, skip - len(piece))
            room = into[done : done + len(view)]
            room[:] = view[: len(room)]
            done += len(room)
    finally:
        answer.release_conn()
    return done


def _explain(error: Exception | None) -> str:
    if isinstance(error, urllib3.exceptions.MaxRetryError):
        return _explain(error.reason)
    if isinstance(error, urllib3.exceptions.NameResolutionError):
        return "its name cannot be resolved: check the URI and the cluster's DNS"
    if isinstance(error, urllib3.exceptions.ConnectTimeoutError | urllib3.exceptions.NewConnectionError):
        return "it cannot be reached: check the URI, the network and its policies"
    if isinstance(error, urllib3.exceptions.TimeoutError):
        return "it did not answer in time, again and again"
    return "it cut the connection, again and again"


def _words(content: bytes) -> str:
    """What a registry says for people, if it does."""
    try:
        first = json.loads(content)["errors"][0]
        return f" ({first['code']}: {first.get('message', '')})"
    except (ValueError, KeyError, IndexError, TypeError):
        return ""
