"""A bucket of S3, or of a store that speaks its protocol, as a backend.

Packs are multipart uploads, which nobody sees before they are complete; manifests are conditional puts. Requests that fail are
sent again, a bounded number of times and at random intervals, by the client itself.
"""

import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import S3Store

from chrek_agent.store.backend import Entry
from chrek_agent.store.chunking import Buffer
from chrek_agent.store.keys import check_key
from chrek_agent.store.patience import LONGEST_WAIT, Patience
from chrek_agent.store.refusals import StorageError, explain
from chrek_agent.store.s3uploads import Credentials, Uploads
from chrek_agent.store.straight import Straight
from chrek_agent.store.uploading import UploadWriter
from chrek_agent.store.where import Bucket

if TYPE_CHECKING:
    from obstore import GetResult, PutMode
    from obstore.store import BackoffConfig, ClientConfig, RetryConfig, S3Config

PART: Final = 6 << 20
"""Bytes of each part of an upload; S3 wants at least 5 MiB."""
PARALLEL: Final = 2
"""Parts of one pack on their way at once: as each of 8 threads writes a pack of its own, that is 96 MiB at most."""
_TOKEN: Final = "chrek-put"  # noqa: S105 - the name of an attribute
_REGION: Final = "us-east-1"

_PIECE: Final = 512 << 10
_SIGNED: Final = timedelta(minutes=15)
_PROXIES: Final = frozenset({"http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"})
"""Variables that have the client ask through a proxy."""

Result = TypeVar("Result")
Taken = TypeVar("Taken", bytes, memoryview)


class S3Backend:
    """Objects below a prefix of a bucket.

    Args:
        bucket: Where.
        credentials: None: those of the environment, or the role that the service account or the machine has.
        patience: With a store that does not answer well.
    """

    def __init__(self, bucket: Bucket, *, credentials: Credentials | None = None, patience: Patience | None = None) -> None:
        self.bucket = bucket
        self._credentials = credentials
        self._patience = patience or Patience()
        self._store = _connect(bucket, credentials, self._patience)
        plain = bucket.endpoint.startswith("http://") and _PROXIES.isdisjoint(os.environ)
        self._straight = Straight(self._patience) if plain else None

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> None:
        """One request. An answer that was lost is no failure: the object's token tells whether it is ours."""
        check_key(key)
        token = secrets.token_hex(16)
        attributes = {_TOKEN: token} if if_absent else None
        mode: PutMode = "create" if if_absent else "overwrite"
        try:
            self._call(lambda: obstore.put(self._store, key, data, mode=mode, attributes=attributes, use_multipart=False))
        except FileExistsError:
            if self._call(lambda: obstore.get(self._store, key, options={"head": True}).attributes).get(_TOKEN) != token:
                raise

    def writer(self, key: str) -> UploadWriter:
        """Begins an upload."""
        check_key(key)
        return UploadWriter(lambda pieces: self._upload(key, pieces))

    def read(self, key: str, offset: int, length: int) -> bytes:
        """One ranged request."""
        return self._get(key, offset, length, lambda found: found.bytes().to_bytes()) or b""

    def read_into(self, key: str, offset: int, into: memoryview) -> int:
        """One ranged request, straight if that can be."""
        check_key(key)
        if self._straight is not None and self._straight.read_into(self._signed(key), {}, offset, into):
            return len(into)
        return len(self._get(key, offset, len(into), lambda found: _pour(found, into)) or b"")

    def _get(self, key: str, offset: int, length: int, take: Callable[["GetResult"], Taken]) -> Taken | None:
        """What `take` makes of the content; None where the object has ended. Tries again where the content breaks off."""
        check_key(key)
        begun = time.monotonic()
        for attempt in range(1, self._patience.retries + 2) if length > 0 else ():
            try:
                return self._try(key, offset, length, take)
            except _CutError:
                if attempt > self._patience.retries or time.monotonic() - begun > self._patience.total:
                    raise
            time.sleep(self._patience.wait(attempt))
        return None

    def _try(self, key: str, offset: int, length: int, take: Callable[["GetResult"], Taken]) -> Taken | None:
        """What goes wrong before the content comes is repeated by the client."""
        try:
            return self._call(lambda: _taken(self._store, key, offset, length, take))
        except StorageError:
            if offset >= self.size(key):
                return None
            raise

    def _signed(self, key: str) -> str:
        """A URL to get an object by; empty where there are no credentials to sign it with."""
        try:
            return obstore.sign(self._store, "GET", key, _SIGNED)
        except (BaseError, OSError):
            return ""

    def size(self, key: str) -> int:
        """Bytes of an object."""
        check_key(key)
        return self._call(lambda: obstore.head(self._store, key)["size"])

    def list(self, prefix: str) -> list[Entry]:
        """Lists the deepest directory that the prefix names."""
        directory = prefix.rpartition("/")[0]
        return sorted(entry for entry in self._call(lambda: _list(self._store, directory)) if entry.key.startswith(prefix))

    def delete(self, key: str) -> None:
        """One request."""
        check_key(key)
        with suppress(FileNotFoundError):
            self._call(lambda: obstore.delete(self._store, key))

    def local(self, key: str) -> Path | None:
        """There are no files here."""
        check_key(key)
        return None

    def prune(self, before: datetime) -> int:
        """Aborts old uploads. With a role in place of credentials that is left to the bucket's lifecycle rule."""
        credentials = self._credentials or Credentials.from_environment()
        if credentials is None:
            return 0
        host = self.bucket.endpoint or f"https://s3.{_region(self.bucket)}.amazonaws.com"
        uploads = Uploads(host, self.bucket.name, _region(self.bucket), credentials, self.bucket.ca)
        prefix = f"{self.bucket.prefix}/" if self.bucket.prefix else ""
        return uploads.abort(prefix, before)

    def _upload(self, key: str, pieces: Iterator[Buffer]) -> None:
        self._call(lambda: obstore.put(self._store, key, pieces, use_multipart=True, chunk_size=PART, max_concurrency=PARALLEL))

    def _call(self, work: Callable[[], Result]) -> Result:
        try:
            return work()
        except AlreadyExistsError:
            raise FileExistsError(f"{self.bucket.url} has it already") from None
        except FileNotFoundError as error:
            if "NoSuchBucket" in str(error):
                raise StorageError(f"{self.bucket.url}: {explain(str(error))}") from error
            raise FileNotFoundError(2, "no such object in the store", self.bucket.url) from error
        except _CutError as error:
            raise _CutError(f"{self.bucket.url}: {error}") from error
        except (BaseError, OSError) as error:
            raise StorageError(f"{self.bucket.url}: {explain(str(error))}") from error


class _CutError(StorageError):
    """The content broke off."""


def _taken(store: S3Store, key: str, offset: int, length: int, take: Callable[["GetResult"], Taken]) -> Taken:
    found = obstore.get(store, key, options={"range": (offset, offset + length)})
    try:
        content = take(found)
    except BaseError as error:
        raise _CutError(explain(str(error))) from error
    if len(content) != min(length, found.meta["size"] - offset):
        raise _CutError("it cut the content off, again and again")
    return content


def _pour(found: "GetResult", into: memoryview) -> memoryview:
    """Copies the content as it comes: memory for all of it at once would be fresh for each request, which costs more."""
    done = 0
    for piece in found.stream(min_chunk_size=_PIECE):
        if done + len(piece) > len(into):
            raise _CutError("it sent more than it was asked for")
        into[done : done + len(piece)] = memoryview(piece)
        done += len(piece)
    return into[:done]


def _list(store: S3Store, directory: str) -> list[Entry]:
    pages = obstore.list(store, prefix=directory or None, chunk_size=1000)
    return [Entry(item["path"], item["size"], item["last_modified"]) for page in pages for item in page]


def _region(bucket: Bucket) -> str:
    return bucket.region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or _REGION


def _connect(bucket: Bucket, credentials: Credentials | None, patience: Patience) -> S3Store:
    client: ClientConfig = {
        "timeout": timedelta(seconds=patience.request),
        "connect_timeout": timedelta(seconds=patience.connect),
        "allow_http": bucket.endpoint.startswith("http://"),
    }
    if bucket.ca is not None:
        client["root_certificate"] = bucket.ca.read_bytes()
    backoff: BackoffConfig = {
        "init_backoff": timedelta(seconds=patience.pause),
        "max_backoff": timedelta(seconds=LONGEST_WAIT),
        "base": 2,
    }
    retry: RetryConfig = {"max_retries": patience.retries, "retry_timeout": timedelta(seconds=patience.total), "backoff": backoff}
    config: S3Config = {
        "region": _region(bucket),
        "virtual_hosted_style_request": not bucket.path_style,
        "unsigned_payload": True,  # Chunks have digests of their own.
    }
    if bucket.endpoint:
        config["endpoint"] = bucket.endpoint
    if credentials is not None:
        config |= {"access_key_id": credentials.key, "secret_access_key": credentials.secret}
        config |= {"session_token": credentials.token} if credentials.token else {}
    return S3Store(bucket.name, prefix=bucket.prefix or None, config=config, client_options=client, retry_config=retry)
