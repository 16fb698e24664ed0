"""Where a store is, as people write it: a directory, `s3://...` or `oci://...`; and the backend for it.

s3://bucket/prefix                      Amazon's S3
s3://host/bucket/prefix                 a store that speaks its protocol; a host has a dot or a port
s3://bucket/prefix?endpoint=https://host:port&region=...&path-style=false&ca=/file&plain-http=true
oci://host/repository?ca=/file&plain-http=true
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from chrek_agent.store.backend import Backend
from chrek_agent.store.cached import PieceCache
from chrek_agent.store.local import STAGING, DirectoryBackend
from chrek_agent.store.protection import from_environment
from chrek_agent.store.store import Store
from kubectl_chrek.api.errors import UsageError

_FORMS: Final = "write s3://bucket/prefix, s3://host/bucket/prefix, oci://host/repository, or a directory"
_TRUTH: Final = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class Bucket:
    """A store in S3."""

    name: str
    prefix: str = ""
    endpoint: str = ""
    """`https://host:port`; empty: Amazon's."""
    region: str = ""
    """Empty: AWS_REGION, else us-east-1."""
    path_style: bool = False
    ca: Path | None = None
    """Certificates of authorities to trust, in place of the usual."""

    @property
    def url(self) -> str:
        """For people."""
        return "s3://" + "/".join(filter(None, (self.endpoint.partition("://")[2], self.name, self.prefix)))


@dataclass(frozen=True, slots=True)
class Repository:
    """A store in a registry."""

    host: str
    """With its port, if it has an unusual one."""
    name: str
    ca: Path | None = None
    plain_http: bool = False

    @property
    def url(self) -> str:
        """For people."""
        return f"oci://{self.host}/{self.name}"


def parse_place(location: str) -> Path | Bucket | Repository:
    """What a location means. Pure.

    Raises:
        UsageError: Nothing; the message says what is wrong with it.
    """
    if "://" not in location:
        if not location.startswith("/"):
            raise UsageError(f"storage {location!r} is no absolute path", hint=_FORMS)
        return Path(location)
    parts = urlsplit(location)
    path = [element for element in parts.path.split("/") if element]
    if parts.scheme not in ("s3", "oci") or not parts.netloc or parts.fragment or "@" in parts.netloc:
        raise UsageError(f"storage {location!r} is not understood", hint=_FORMS)
    try:
        options = dict(parse_qsl(parts.query, strict_parsing=True)) if parts.query else {}
    except ValueError:
        raise UsageError(f"what follows ? in storage {location!r} is not understood", hint="write ?name=value&name=value") from None
    return _bucket(parts.netloc, path, options) if parts.scheme == "s3" else _repository(parts.netloc, path, options)


def connect(location: str) -> Backend:
    """The backend of a location; nothing is asked of it yet. Raises UsageError."""
    place = parse_place(location)
    try:
        if isinstance(place, Bucket):
            from chrek_agent.store.s3 import S3Backend

            return S3Backend(place)
        if isinstance(place, Repository):
            from chrek_agent.store.oci.backend import RegistryBackend

            return RegistryBackend(place)
    except ModuleNotFoundError as error:
        raise UsageError(f"storage needs {error.name}", hint="pip install 'kubectl-chrek[s3]'") from error
    return DirectoryBackend(place)


def open_store(location: str, scratch: Path, cache: PieceCache | None = None) -> Store:
    """The store at a location, with the keys that the environment names.

    Args:
        location: See above.
        scratch: A directory of this store's own on this machine, for captures under way. A store in a directory has it inside,
            unless that is sealed: what lies there is not.
        cache: Where this node keeps what its restores have read; None: nowhere.

    Raises:
        UsageError: The location means nothing, or a key is none.
    """
    place, protection = parse_place(location), from_environment()
    if isinstance(place, Path) and not protection.keys.current:
        scratch = place / STAGING
    return Store(connect(location), scratch, cache=cache, protection=protection)


def kind(location: str) -> str:
    """`directory`, `s3` or `oci`, as a ChrekNode says it. Raises UsageError."""
    place = parse_place(location)
    return "directory" if isinstance(place, Path) else "s3" if isinstance(place, Bucket) else "oci"


def plain(location: str) -> str:
    """A location without what only a client needs to know, as `status.location` has it."""
    return location.partition("?")[0].rstrip("/")


def _bucket(host: str, path: list[str], options: dict[str, str]) -> Bucket:
    plain_http = _truth(options, "plain-http", default=False)
    scheme = "http" if plain_http else "https"
    endpoint = options.pop("endpoint", "")
    if not endpoint and ("." in host or ":" in host):
        if not path:
            raise UsageError(f"storage s3://{host} names no bucket", hint=_FORMS)
        endpoint, host = host, path.pop(0)
    if endpoint and "://" not in endpoint:
        endpoint = f"{scheme}://{endpoint}"
    if endpoint and not endpoint.startswith(("https://", "http://")):
        raise UsageError(f"endpoint {endpoint!r} is no URL", hint="write https://host:port")
    region, ca = options.pop("region", ""), _ca(options)
    path_style = _truth(options, "path-style", default=bool(endpoint))
    _nothing_left(options)
    return Bucket(host, "/".join(path), endpoint.rstrip("/"), region, path_style, ca)


def _repository(host: str, path: list[str], options: dict[str, str]) -> Repository:
    if not path:
        raise UsageError(f"storage oci://{host} names no repository", hint=_FORMS)
    name = "/".join(path)
    if name != name.lower():
        raise UsageError(f"repository {name} has capital letters, which registries refuse")
    found = Repository(host, name, _ca(options), _truth(options, "plain-http", default=False))
    _nothing_left(options)
    return found


def _ca(options: dict[str, str]) -> Path | None:
    word = options.pop("ca", os.environ.get("CHREK_STORAGE_CA", ""))
    return Path(word) if word else None


def _truth(options: dict[str, str], name: str, *, default: bool) -> bool:
    word = options.pop(name, str(default).lower())
    if word not in _TRUTH:
        raise UsageError(f"{name}={word} is neither true nor false")
    return _TRUTH[word]


def _nothing_left(options: dict[str, str]) -> None:
    if options:
        raise UsageError(f"storage has no option {', '.join(sorted(options))}")
