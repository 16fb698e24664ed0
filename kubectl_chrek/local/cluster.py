"""The local cluster, put together."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kubectl_chrek.api import names
from kubectl_chrek.api.crds import load_crds
from kubectl_chrek.api.errors import ChrekError
from kubectl_chrek.cluster import Cluster
from kubectl_chrek.local import remotes
from kubectl_chrek.local.apiserver import ApiServer
from kubectl_chrek.local.controllers import run_controllers
from kubectl_chrek.local.mirrors import Mirrors
from kubectl_chrek.local.node import Node, NodeConfig
from kubectl_chrek.local.programs import Program

CRIU_ROOT: Final = "/opt/chrek/criu"
DIRECTORY: Final = "directory"
STORAGES: Final = (DIRECTORY, "s3", "oci")
WEBHOOKS: Final = ("--webhook-port", "0", "--webhook-url", "https://127.0.0.1")
"""The operator runs on this machine, like the API server, and takes any port."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalConfig:
    """Settings of a local cluster. `state` must lie on a file system with room for what is captured."""

    state: Path
    criu_root: Path = Path(os.environ.get("CHREK_CRIU_ROOT", CRIU_ROOT))
    host_mounts: tuple[Path, ...] = ()
    """Paths that containers see read-only besides the machine's root, such as a checkout below /tmp."""
    backoff_seconds: float = 10.0
    gpus: int = 0
    storage: str = DIRECTORY
    """Where artifacts are kept: a directory, or a server on loopback that keeps them in one."""
    cache: str = ""
    """What the agent may keep of what its restores have read, such as 100Mi; empty: nothing."""

    @property
    def kubeconfig(self) -> Path:
        """How to reach it."""
        return self.state / "kubeconfig"

    @property
    def checkpoints(self) -> Path:
        """The artifact store."""
        return self.state / "checkpoints"

    @property
    def logs(self) -> Path:
        """Logs of operator and agent."""
        return self.state / "log"


@dataclass(frozen=True, slots=True)
class LocalCluster:
    """A running local cluster."""

    config: LocalConfig
    cluster: Cluster
    operator: Program
    agent: Program

    @classmethod
    @asynccontextmanager
    async def start(cls, config: LocalConfig) -> AsyncIterator["LocalCluster"]:
        """Runs a cluster until the block is left; then nothing of it is left on the machine but `config.state`.

        Raises:
            ChrekError: This machine cannot run one; the message says why.
        """
        check_criu(config.criu_root)
        config.logs.mkdir(parents=True, exist_ok=True)
        async with AsyncExitStack() as stack:
            server = await stack.enter_async_context(ApiServer.start(config.state, load_crds()))
            cluster = await stack.enter_async_context(Cluster.connect(kubeconfig=str(server.kubeconfig)))
            await stack.enter_async_context(_background(run_controllers(cluster, backoff_seconds=config.backoff_seconds)))
            node_config = NodeConfig(
                state=config.state / "node",
                host_mounts=config.host_mounts,
                backoff_seconds=config.backoff_seconds,
                readiness_seconds=0.05,  # A start is measured to its readiness, not to the next look at it.
                gpus=config.gpus,
            )
            node = await stack.enter_async_context(Node.run(cluster, node_config))
            place = await asyncio.to_thread(stack.enter_context, remotes.place(config.storage, config.checkpoints))
            shared = ["--kubeconfig", str(server.kubeconfig), "--base-path", str(config.checkpoints)]
            where = ["--storage-type", config.storage, "--location", place] if place else []
            operator = await stack.enter_async_context(
                Program.run("chrek_operator", [*shared, *where, "--namespace", "all", *WEBHOOKS], config.logs / "operator.log")
            )
            own = ["--storage", place] if place else []
            own += ["--cache-dir", str(config.state / "cache"), "--cache-bytes", config.cache] if config.cache else []
            own += ["--node", node_config.name, "--state", str(config.state / "agent"), "--criu-root", str(config.criu_root)]
            agent = await stack.enter_async_context(Program.run("chrek_agent", [*shared, *own], config.logs / "agent.log"))
            mirrors = Mirrors(node, {names.OPERATOR: operator, names.AGENT: agent}, {"CHREK_CRIU_ROOT": str(config.criu_root)})
            server.logs, server.exec = mirrors.logs, mirrors.exec
            await mirrors.show(cluster, node_config.name)
            yield cls(config, cluster, operator, agent)


def check_criu(root: Path) -> None:
    """Raises ChrekError when there is no CRIU below `root`."""
    if not (root / "usr" / "sbin" / "criu").exists():
        raise ChrekError(f"there is no CRIU in {root}", hint="run scripts/install-criu, or set CHREK_CRIU_ROOT")


@asynccontextmanager
async def _background(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
