"""The agent's own capture and restore, driven without a cluster."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from criu_needs import CRIU
from light_container import HASH, Box

from chrek_agent.capture import Capture, Captured
from chrek_agent.config import AgentConfig
from chrek_agent.container.discovery import Container
from chrek_agent.container.thaw import thaw
from chrek_agent.criu.runner import Criu
from chrek_agent.journal import Record, record
from chrek_agent.restore import Restore, Restored, wait_for_shim
from chrek_agent.store.store import Store
from chrek_agent.store.where import open_store
from kubectl_chrek.api.checkpoint import Artifact, Checkpoint, read_checkpoint

IDENTITY = {"model": "meta-llama/Llama-3-8B", "backendFramework": "vllm", "tensorParallelSize": 1, "dtype": "bfloat16"}


@dataclass(frozen=True, slots=True)
class LightAgent:
    """One agent's directories."""

    config: AgentConfig

    @classmethod
    def at(cls, state: Path) -> "LightAgent":
        config = AgentConfig(node="light", base_path=state / "store", state=state / "agent", criu_root=CRIU)
        for path in (config.journal, config.work, config.base_path):
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
        return cls(config)

    def capture(self, box: Box) -> Artifact:
        """Captures it; the worker is left stopped, as the agent's caller finds it."""
        return artifact_of(self.captured_whole(box))

    def captured_whole(self, box: Box) -> Captured:
        """As `capture`, with all that is known of it."""

        async def run() -> Captured:
            with record(self.config.journal, "capture", box.container) as entry:
                return await self.captured(box.pod, box.container, entry)

        return asyncio.run(run())

    async def captured(self, pod: Mapping[str, Any], container: Container, entry: Record) -> Captured:
        capture = Capture(self.config, Criu(self.config.criu_root), self.store())
        return await capture.run(pod, checkpoint(), container, entry, lambda *_: None, cold_start=1.0)

    def restore(self, box: Box, artifact: Artifact) -> Restored:
        return asyncio.run(self.restoring(box.container, artifact))

    async def restoring(self, container: Container, artifact: Artifact, namespace: str = "") -> Restored:
        await wait_for_shim(container, seconds=20)
        restore = Restore(self.config, Criu(self.config.criu_root), self.store())
        return await restore.run("light", HASH, artifact, container, "", namespace=namespace)

    def store(self) -> Store:
        """As the agent opens it: with the keys that the environment names."""
        return open_store(self.config.location, self.config.staging)

    def remains(self) -> list[str]:
        """What an operation that has ended must not leave: entries in the journal, captures under way, images."""
        places = (self.config.journal, self.config.base_path / ".staging", self.config.staging)
        left = [str(path) for place in places if place.exists() for path in place.iterdir()]
        return left + [str(path) for path in self.config.work.rglob("*.img")]

    def let_go(self, container: Container) -> None:
        """What follows a capture: here the worker goes on, a pod's is told to leave."""
        thaw(container.init)


def checkpoint() -> Checkpoint:
    metadata = {"name": "light", "namespace": "light", "uid": "uid-light", "resourceVersion": "1"}
    spec = {"identity": IDENTITY, "job": {"podTemplateSpec": {}}}
    return read_checkpoint({"metadata": metadata, "spec": spec, "status": {"phase": "Creating", "identityHash": HASH}})


def artifact_of(captured: Captured) -> Artifact:
    return Artifact.model_validate(json.loads(json.dumps({"generation": captured.manifest.generation, "digest": captured.digest})))
