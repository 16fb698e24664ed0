"""Time as Kubernetes objects write it."""

from datetime import UTC, datetime


def timestamp(seconds: float) -> str:
    """Seconds since the epoch as `2026-01-02T03:04:05Z`."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def micro_timestamp(seconds: float) -> str:
    """Seconds since the epoch as `2026-01-02T03:04:05.000006Z`, the form of leases."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def seconds(text: str) -> float:
    """Seconds since the epoch of either form."""
    return datetime.fromisoformat(text).timestamp()
