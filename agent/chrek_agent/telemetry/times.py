"""Times as Kubernetes writes them."""

from datetime import datetime


def timestamp(now: datetime) -> str:
    """RFC 3339 to the second, UTC."""
    return f"{now:%Y-%m-%dT%H:%M:%SZ}"
