"""`python -m chrek_agent`: arguments, logging, the guardian, signals."""

import argparse
import asyncio
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from chrek_agent.agent import Agent
from chrek_agent.config import AgentConfig
from chrek_agent.criu.runner import Criu
from chrek_agent.journal import recover
from kubectl_chrek.api import names
from kubectl_chrek.api.errors import ChrekError
from kubectl_chrek.cluster import Cluster

LOG: Final = logging.getLogger("chrek_agent")


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line; defaults are the DaemonSet's."""
    parser = argparse.ArgumentParser(prog="chrek-agent", description="Dumps and restores the containers of one node")
    parser.add_argument("--node", default=os.environ.get("NODE_NAME", ""), help="this node's name (NODE_NAME)")
    parser.add_argument("--kubeconfig", help="default: KUBECONFIG, ~/.kube/config, else the pod's service account")
    parser.add_argument("--context", help="context in the kubeconfig")
    parser.add_argument("--namespace", default="", help="serve one namespace only")
    parser.add_argument("--base-path", type=Path, default=Path(names.BASE_PATH), help="where artifacts are kept")
    parser.add_argument("--state", type=Path, default=Path("/var/lib/chrek"), help="journal and logs, local to this node")
    parser.add_argument(
        "--criu-root", type=Path, default=Path(os.environ.get("CHREK_CRIU_ROOT", "/")), help="tree with usr/sbin/criu"
    )
    parser.add_argument("--cgroup-root", type=Path, default=Path("/sys/fs/cgroup"), help="where cgroupfs is mounted")
    parser.add_argument("-v", "--verbose", action="store_true", help="log more")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Runs until SIGTERM or SIGINT; returns the exit code."""
    args = parse(argv)
    logging.basicConfig(
        level=logging.DEBUG if args.verbose else logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s"
    )
    try:
        asyncio.run(_run(args))
    except ChrekError as error:
        LOG.error("%s%s", error, f" ({error.hint})" if error.hint else "")
        return error.exit_code
    return 0


async def _run(args: argparse.Namespace) -> None:
    if not args.node:
        raise ChrekError("which node is this?", hint="give --node or set NODE_NAME")
    if os.geteuid() != 0:
        raise ChrekError("the agent needs root, because CRIU does")
    config = AgentConfig(
        node=args.node,
        base_path=args.base_path,
        state=args.state,
        criu_root=args.criu_root,
        cgroup_root=args.cgroup_root,
        namespace=args.namespace,
    )
    for path in (config.journal, config.work, config.base_path):
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    version = await Criu(config.criu_root).version()
    recover(config.journal)
    with _guardian(config.journal):
        async with Cluster.connect(kubeconfig=args.kubeconfig, context=args.context) as cluster:
            LOG.info("agent of node %s: CRIU %s, artifacts in %s", config.node, version, config.base_path)
            work = asyncio.create_task(Agent(config, cluster).run())
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, work.cancel)
            try:
                await work
            except asyncio.CancelledError:
                LOG.info("stopped")


@contextmanager
def _guardian(journal: Path) -> Iterator[None]:
    """A process that outlives us if we are killed; its standard input ends when we do."""
    command = [sys.executable, "-m", "chrek_agent.guardian", str(journal)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
    try:
        yield
    finally:
        if process.stdin is not None:
            process.stdin.close()
        process.wait()
