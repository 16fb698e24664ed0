"""Where a release lies for everybody: the one place that says it; krew-manifest.yaml has the same, and a test compares them.

Nobody has published one yet, so these are placeholders: names below `.invalid` lead nowhere, for ever (RFC 2606). Whoever publishes
writes the real ones here and in krew-manifest.yaml; until then `make krew PUBLISH=1` refuses.
"""

from typing import Final
from urllib.parse import urlsplit

HOMEPAGE: Final = "https://kubectl-chrek.invalid"
DOWNLOADS: Final = "https://kubectl-chrek.invalid/releases/download"
"""What stands before `/v<version>/<archive>`."""

_RESERVED: Final = ("invalid", "example", "test", "localhost", "example.com", "example.org", "example.net")


def download(version: str, archive: str) -> str:
    """Where an archive of a version can be fetched."""
    return f"{DOWNLOADS}/v{version}/{archive}"


def placeholders(urls: tuple[str, ...] = (HOMEPAGE, DOWNLOADS)) -> list[str]:
    """Those that lead nowhere: no https, or a host of the names that are kept for examples."""
    return [url for url in urls if not _leads_somewhere(url)]


def _leads_somewhere(url: str) -> bool:
    parts = urlsplit(url)
    host = parts.hostname or ""
    reserved = any(host == name or host.endswith(f".{name}") for name in _RESERVED)
    return parts.scheme == "https" and "." in host and not reserved
