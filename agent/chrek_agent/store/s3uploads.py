"""Uploads to S3 that nobody has completed: found and aborted, which the client for objects cannot do.

Requests are signed by AWS's Signature Version 4.
"""

import hashlib
import hmac
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Self
from urllib.parse import quote, urlsplit
from xml.etree import ElementTree as ET

import urllib3

from chrek_agent.store.refusals import StorageError, explain

_UNSIGNED: Final = "UNSIGNED-PAYLOAD"
_ALGORITHM: Final = "AWS4-HMAC-SHA256"
_NAME: Final = "{*}"


@dataclass(frozen=True, slots=True)
class Credentials:
    """As an environment has them."""

    key: str
    secret: str
    token: str = ""

    @classmethod
    def from_environment(cls) -> Self | None:
        """None where there are none."""
        key, secret = os.environ.get("AWS_ACCESS_KEY_ID"), os.environ.get("AWS_SECRET_ACCESS_KEY")
        return cls(key, secret, os.environ.get("AWS_SESSION_TOKEN", "")) if key and secret else None


def sign(
    credentials: Credentials, method: str, url: str, query: Mapping[str, str], region: str, now: datetime
) -> tuple[str, dict[str, str]]:
    """The URL to ask for and the headers to send. Pure.

    Args:
        credentials: Who asks.
        method: GET or DELETE, which have no content.
        url: Of the bucket or an object, its path quoted.
        query: Not quoted.
        region: The bucket's.
        now: The present.
    """
    parts = urlsplit(url)
    headers = {"host": parts.netloc, "x-amz-content-sha256": _UNSIGNED, "x-amz-date": f"{now:%Y%m%dT%H%M%SZ}"}
    if credentials.token:
        headers["x-amz-security-token"] = credentials.token
    asked = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in sorted(query.items()))
    names = ";".join(sorted(headers))
    lines = [method, parts.path or "/", asked, *(f"{name}:{headers[name]}" for name in sorted(headers)), "", names, _UNSIGNED]
    scope = f"{now:%Y%m%d}/{region}/s3/aws4_request"
    hashed = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    key = f"AWS4{credentials.secret}".encode()
    for part in (*scope.split("/"), "\n".join((_ALGORITHM, headers["x-amz-date"], scope, hashed))):
        key = hmac.digest(key, part.encode(), "sha256")
    authorization = f"{_ALGORITHM} Credential={credentials.key}/{scope}, SignedHeaders={names}, Signature={key.hex()}"
    return f"{url}?{asked}", headers | {"authorization": authorization}


@dataclass(frozen=True, slots=True)
class Uploads:
    """The unfinished uploads of one bucket."""

    endpoint: str
    bucket: str
    region: str
    credentials: Credentials
    ca: Path | None

    def abort(self, prefix: str, before: datetime) -> int:
        """Aborts those to keys below a prefix that were begun before that time; returns how many.

        Raises:
            OSError: The store refused.
        """
        with self._client() as client:
            old = [(key, upload) for key, upload, begun in self._list(client, prefix) if begun < before]
            for key, upload in old:
                self._ask(client, "DELETE", f"/{quote(key)}", {"uploadId": upload})
        return len(old)

    def _list(self, client: urllib3.PoolManager, prefix: str) -> list[tuple[str, str, datetime]]:
        found: list[tuple[str, str, datetime]] = []
        query = {"uploads": "", "prefix": prefix}
        while True:
            page = ET.fromstring(self._ask(client, "GET", "", query))  # noqa: S314 - from the store that we trust with the data
            for upload in page.iterfind(f"{_NAME}Upload"):
                begun = datetime.fromisoformat(_text(upload, "Initiated")).astimezone(UTC)
                found.append((_text(upload, "Key"), _text(upload, "UploadId"), begun))
            if _text(page, "IsTruncated") != "true":
                return [each for each in found if each[0].startswith(prefix)]
            query |= {"key-marker": _text(page, "NextKeyMarker"), "upload-id-marker": _text(page, "NextUploadIdMarker")}

    def _ask(self, client: urllib3.PoolManager, method: str, path: str, query: Mapping[str, str]) -> bytes:
        url, headers = sign(self.credentials, method, f"{self.endpoint}/{self.bucket}{path}", query, self.region, datetime.now(UTC))
        try:
            answer = client.request(method, url, headers=headers)
        except urllib3.exceptions.HTTPError as error:
            raise StorageError(f"s3://{self.bucket}: it cannot be reached: {type(error).__name__}") from error
        if answer.status not in (200, 204, 404):
            raise StorageError(f"s3://{self.bucket}: {explain(f'status: {answer.status} ' + answer.data.decode(errors='replace'))}")
        return answer.data

    def _client(self) -> urllib3.PoolManager:
        retries = urllib3.Retry(3, backoff_factor=0.2, backoff_jitter=0.2, status_forcelist=(500, 502, 503, 504))
        return urllib3.PoolManager(
            retries=retries, timeout=urllib3.Timeout(connect=5, read=30), ca_certs=None if self.ca is None else str(self.ca)
        )


def _text(element: ET.Element, name: str) -> str:
    found = element.find(f"{_NAME}{name}")
    return "" if found is None else found.text or ""
