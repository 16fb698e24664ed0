"""`python -m chrek_agent`, or `chrek-agent`: the daemon of a node, or one plain command."""

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

from chrek_agent.config import AgentConfig
from chrek_agent.criu.runner import Criu
from chrek_agent.journal import recover
from chrek_agent.standalone.arguments import COMMANDS, add_node_arguments, parse_command
from chrek_agent.telemetry.logs import configure, prune
from kubectl_chrek.api import names
from kubectl_chrek.api.errors import ChrekError

LOG: Final = logging.getLogger("chrek_agent")
_OTHERS: Final = f"Without a cluster: chrek-agent {{{','.join(COMMANDS)}}} --help"


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The daemon's command line; defaults are the DaemonSet's."""
    parser = argparse.ArgumentParser(
        prog="chrek-agent", description="Dumps and restores the containers of one node", epilog=_OTHERS
    )
    parser.add_argument("--node", default=os.environ.get("NODE_NAME", ""), help="this node's name (NODE_NAME)")
    parser.add_argument("--kubeconfig", help="default: KUBECONFIG, ~/.kube/config, else the pod's service account")
    parser.add_argument("--context", help="context in the kubeconfig")
    parser.add_argument("--namespace", default="", help="serve one namespace only")
    parser.add_argument("--base-path", type=Path, default=Path(names.BASE_PATH), help="where artifacts are kept")
    parser.add_argument("--storage", default="", help="where artifacts are kept instead: s3://bucket/prefix, oci://host/repository")
    parser.add_argument("--cache-dir", type=Path, help="where this node keeps what its restores have read of the store")
    parser.add_argument("--cache-bytes", type=parse_bytes, default=0, metavar="SIZE", help="how much of it, such as 100Gi")
    parser.add_argument(
        "--repair-from",
        action="append",
        default=[],
        metavar="STORE",
        help="where damaged chunks may be fetched from; may be repeated",
    )
    parser.add_argument("--listen", default=os.environ.get("CHREK_LISTEN", ""), help="host:port of metrics and health")
    parser.add_argument("--log-format", choices=("text", "json"), default="text")
    parser.add_argument("--restore-seconds", type=float, default=900.0, help="after which a pod starts cold")
    parser.add_argument("--early-seconds", type=float, default=10.0, help="a restored worker that ends sooner has failed")
    parser.add_argument("--retry-seconds", type=float, default=3600.0, help="how long a failed artifact is not tried again")
    add_node_arguments(parser)
    return parser.parse_args(argv)


def parse_bytes(word: str) -> int:
    """A size as Kubernetes writes it: 1073741824, 500Mi, 100Gi, 1Ti. Raises ValueError."""
    number, unit = (word[:-2], word[-2:]) if word.endswith("i") else (word, "")
    return int(number) << {"": 0, "Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40}.get(unit, -1)


def main(argv: list[str] | None = None) -> int:
    """The daemon, until SIGTERM or SIGINT, or one of the plain commands; returns the exit code."""
    words = sys.argv[1:] if argv is None else argv
    args = parse_command(words) if words[:1] and words[0] in COMMANDS else parse(words[1:] if words[:1] == ["run"] else words)
    configure(getattr(args, "log_format", "text"), verbose=args.verbose)
    try:
        code: int = asyncio.run(args.command(args) if "command" in args else _run(args))
    except ChrekError as error:
        LOG.error("%s%s", error, f" ({error.hint})" if error.hint else "")
        return error.exit_code
    return code


async def _run(args: argparse.Namespace) -> int:
    # The plain commands start without the Kubernetes client.
    from chrek_agent.agent import Agent
    from kubectl_chrek.cluster import Cluster

    if not args.node:
        raise ChrekError("which node is this?", hint="give --node or set NODE_NAME")
    if os.geteuid() != 0:
        raise ChrekError("the agent needs root, because CRIU does")
    config = AgentConfig(
        node=args.node,
        base_path=args.base_path,
        storage=args.storage,
        cache=args.cache_dir,
        cache_bytes=args.cache_bytes,
        repair_from=tuple(args.repair_from),
        state=args.state,
        criu_root=args.criu_root,
        cgroup_root=args.cgroup_root,
        huge_pages=args.huge_pages,
        keep_connections=not args.close_connections,
        namespace=args.namespace,
        listen=args.listen,
        attempt_seconds=args.restore_seconds,
        early_seconds=args.early_seconds,
        retry_seconds=args.retry_seconds,
    )
    for path in (config.journal, config.work, *(() if config.storage else (config.base_path,))):
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    version = await Criu(config.criu_root).version()
    prune(config.work)
    recover(config.journal)
    with _guardian(config.journal):
        async with Cluster.connect(kubeconfig=args.kubeconfig, context=args.context) as cluster:
            LOG.info("agent of node %s: CRIU %s, artifacts in %s", config.node, version, config.location)
            work = asyncio.create_task(Agent(config, cluster).run())
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, work.cancel)
            try:
                await work
            except asyncio.CancelledError:
                LOG.info("stopped")
    return 0


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
