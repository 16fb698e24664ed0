"""What Prometheus sees of one agent. Seconds and bytes, as its conventions want."""

from collections.abc import Mapping
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest

from kubectl_chrek import __version__

_SECONDS: Final = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640)
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Counters, gauges and histograms of one agent, in a registry of their own."""

    def __init__(self, node: str) -> None:
        self.registry = CollectorRegistry()
        own: dict[str, Any] = {"registry": self.registry, "namespace": "chrek"}
        Info("agent", "The agent itself", **own).info({"version": __version__, "node": node})
        self._captures = Counter("captures", "Captures, by result", ["result"], **own)
        self._restores = Counter("restores", "Restores: restored, or died in the worker's first seconds", ["result"], **own)
        self._cold = Counter("cold_starts", "Pods that started cold, by cause", ["cause"], **own)
        self._verifications = Counter("verifications", "Artifacts read back on demand, by result", ["result"], **own)
        self._seconds = Histogram("operation_seconds", "Seconds of whole operations", ["operation"], buckets=_SECONDS, **own)
        self._phases = Histogram("phase_seconds", "Seconds of each phase", ["operation", "phase"], buckets=_SECONDS, **own)
        self._bytes = Counter("bytes", "Bytes captured and restored", ["operation"], **own)
        self._phase_bytes = Counter("phase_bytes", "Bytes that a phase has moved", ["operation", "phase"], **own)
        self._rate = Gauge("bytes_per_second", "Rate of the newest operation", ["operation"], **own)
        self._store = Gauge("store_bytes", "The store's bytes, by kind", ["kind"], **own)
        self._artifacts = Gauge("store_artifacts", "Artifacts in the store", **own)
        self._watching = Gauge("watch_connected", "Whether a watch of the API server is in step", ["resource"], **own)
        self._running = Gauge("operations_running", "Operations under way", ["operation"], **own)
        self._checks = Gauge("check_ok", "Whether a check of the node passes", ["check"], **own)

    def render(self) -> bytes:
        """Everything, in Prometheus' text format."""
        return generate_latest(self.registry)

    def operation(self, kind: str, seconds: float, size: int, phases: Mapping[str, float], moved: Mapping[str, int]) -> None:
        """Counts a capture or restore that succeeded."""
        (self._captures if kind == "capture" else self._restores).labels("captured" if kind == "capture" else "restored").inc()
        self._seconds.labels(kind).observe(seconds)
        self._bytes.labels(kind).inc(size)
        self._rate.labels(kind).set(size / max(seconds, 0.001))
        for phase, value in phases.items():
            self._phases.labels(kind, phase).observe(value)
        for phase, count in moved.items():
            self._phase_bytes.labels(kind, phase).inc(count)

    def capture_failed(self) -> None:
        """Counts a capture that failed."""
        self._captures.labels("failed").inc()

    def cold(self, cause: str) -> None:
        """Counts a cold start."""
        self._cold.labels(cause).inc()

    def died(self) -> None:
        """Counts a restored worker that ended in its first seconds."""
        self._restores.labels("died").inc()

    def verified(self, result: str) -> None:
        """Counts a verification."""
        self._verifications.labels(result).inc()

    def watching(self, resource: str, *, connected: bool) -> None:
        """Notes the state of a watch."""
        self._watching.labels(resource).set(connected)

    def node(self, status: Mapping[str, Any]) -> None:
        """Takes over what the ChrekNode's status says of store, operations and checks."""
        for key, value in status["store"].items():
            if key.endswith("Bytes") and value is not None:
                self._store.labels(key.removesuffix("Bytes")).set(value)
        self._artifacts.set(status["store"].get("artifacts") or 0)
        for kind in ("capture", "restore"):
            self._running.labels(kind).set(sum(operation["kind"] == kind for operation in status["operations"]))
        for check in status["checks"]:
            self._checks.labels(check["name"]).set(check["verdict"] != "fail")
