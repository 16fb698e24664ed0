"""Requests to a registry: with credentials, and sent again when it does not answer well, a bounded number of times."""

import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urljoin

import urllib3

from chrek_agent.store.oci.login import Challenge, Login, parse_challenge
from chrek_agent.store.patience import Patience
from chrek_agent.store.refusals import StorageError, explain_status
from chrek_agent.store.where import Repository

CONNECTIONS: Final = 32
_AGAIN: Final = frozenset({429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Answer:
    """What it said; names of headers are in lower case."""

    url: str
    status: int
    headers: Mapping[str, str] = field(repr=False)
    content: bytes = field(repr=False)


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

    def ask(
        self,
        method: str,
        path: str,
        *,
        good: tuple[int, ...],
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        once: bool = False,
    ) -> Answer:
        """Sends a request.

        Args:
            method: As in HTTP.
            path: Below the repository, or a URL that it gave us.
            good: The statuses that the caller understands.
            body: What to send.
            headers: Besides those for credentials.
            once: The caller has another way to try again.

        Raises:
            StorageError: It answered otherwise, or not at all, again and again.
        """
        url = urljoin(self._base, path)
        begun, attempt, authorized = time.monotonic(), 0, False
        while True:
            used = self._authorization
            try:
                answer = self._send(method, url, body, {**(headers or {}), **({"Authorization": used} if used else {})})
                failure = explain_status(answer.status)
            except urllib3.exceptions.SSLError as error:
                raise self.error("its certificate is not trusted: give ?ca= with the authority's certificate") from error
            except urllib3.exceptions.HTTPError as error:
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

    def _send(self, method: str, url: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
        # A registry may send readers elsewhere; the client leaves our credentials out when it goes to another host.
        retries = urllib3.Retry(connect=0, read=0, status=0, other=0, redirect=3) if method in ("GET", "HEAD") else False
        answer = self._pool.request(method, url, body=body, headers=headers, retries=retries)
        return Answer(url, answer.status, {name.lower(): value for name, value in answer.headers.items()}, answer.data)

    def _authorize(self, header: str, refused: str) -> None:
        """Another thread may have done so meanwhile."""
        with self._lock:
            if self._authorization != refused:
                return
            challenge = parse_challenge(header)
            self._authorization = self._token(challenge) if challenge.scheme == "bearer" else self._login.basic

    def _token(self, challenge: Challenge) -> str:
        scope = f"repository:{self.place.name}:pull,push,delete"
        fields = {"service": challenge.service, "scope": scope}
        try:
            if self._login.token:
                fields |= {"grant_type": "refresh_token", "refresh_token": self._login.token, "client_id": "chrek"}
                answer = self._pool.request("POST", challenge.realm, fields=fields, encode_multipart=False)
            else:
                headers = {"Authorization": self._login.basic} if self._login.basic else {}
                answer = self._pool.request("GET", challenge.realm, fields=fields, headers=headers)
            found = json.loads(answer.data) if answer.status == 200 else {}
            token = found.get("token") or found.get("access_token")
        except (urllib3.exceptions.HTTPError, ValueError) as error:
            raise self.error("its token service does not answer") from error
        if not token:
            raise self.error(explain_status(401))
        return f"Bearer {token}"


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
