"""What the containers of one pod share while the pod lives."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from kubectl_chrek.api.errors import NotFoundError
from kubectl_chrek.cluster import Cluster
from kubectl_chrek.cluster.resources import CONFIG_MAPS, SECRETS
from kubectl_chrek.local.events import Recorder, Type
from kubectl_chrek.local.node.config import NodeConfig
from kubectl_chrek.local.node.devices import Gpus
from kubectl_chrek.local.node.environment import Facts, Objects, Reference
from kubectl_chrek.local.node.network import HOST, Network
from kubectl_chrek.local.node.runtime import Runtime

_RESOURCES: Final = {"ConfigMap": CONFIG_MAPS, "Secret": SECRETS}


@dataclass(frozen=True, slots=True)
class Services:
    """What all pods of a node use."""

    cluster: Cluster
    config: NodeConfig
    runtime: Runtime
    recorder: Recorder
    gpus: Gpus
    capabilities: set[str]


@dataclass(slots=True)
class Context:
    """One pod on this node. `pod` is the newest object seen."""

    services: Services
    pod: dict[str, Any]
    changed: Callable[[], None]
    """To be called when something that the status shows has changed."""
    network: Network | None = None
    places: Mapping[str, Path] = field(default_factory=dict)
    """The volumes' directories by name."""
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when no container of the pod may be started any more."""
    kill: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when what is being stopped gets no more time."""

    @property
    def uid(self) -> str:
        """The pod's UID."""
        return str(self.pod["metadata"]["uid"])

    @property
    def config(self) -> NodeConfig:
        """The node's settings."""
        return self.services.config

    @property
    def facts(self) -> Facts:
        """Addresses, for the downward API."""
        own = "127.0.0.1" if self.pod["spec"].get("hostNetwork") else ""
        return Facts(str(self.network.address) if self.network else own, str(HOST))

    @property
    def directory(self) -> Path:
        """The kubelet's directory of the pod."""
        return self.config.pod_directory(self.uid)

    @property
    def log_directory(self) -> Path:
        """Parent of the containers' log directories."""
        metadata = self.pod["metadata"]
        return self.config.log_directory(metadata["namespace"], metadata["name"], self.uid)

    def record(self, type: Type, reason: str, message: str, container: str = "", *, init: bool = False) -> None:  # noqa: A002
        """Notes an event about the pod, or about one of its containers."""
        part = "initContainers" if init else "containers"
        self.services.recorder.record(self.pod, type, reason, message, f"spec.{part}{{{container}}}" if container else "")

    async def pause(self, seconds: float) -> bool:
        """Waits; True, at once, when the pod is to stop."""
        try:
            await asyncio.wait_for(self.stopping.wait(), seconds)
        except TimeoutError:
            return False
        return True

    async def fetch(self, references: Iterable[Reference]) -> Objects:
        """The objects of the pod's namespace that are there."""
        found: dict[Reference, Mapping[str, Any]] = {}
        for reference in references:
            try:
                found[reference] = await self.services.cluster.get(
                    _RESOURCES[reference.kind], reference.name, self.pod["metadata"]["namespace"]
                )
            except NotFoundError:
                continue
        return found
