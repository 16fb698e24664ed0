"""`python -m chrek_operator`: the operator's command line."""

import argparse
import asyncio
import logging
import signal
import sys
from collections.abc import Sequence

from chrek_operator.running import run_operator
from chrek_operator.settings import Settings
from kubectl_chrek.api import names
from kubectl_chrek.api.errors import ChrekError
from kubectl_chrek.cluster import Cluster


def main(argv: Sequence[str] | None = None) -> int:
    """Runs until SIGTERM or SIGINT; returns the exit code."""
    options = _parser().parse_args(argv)
    level = logging.DEBUG if options.verbose else logging.INFO
    logging.basicConfig(level=level, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    if not options.verbose:
        logging.getLogger("kopf").setLevel(logging.WARNING)
    try:
        asyncio.run(_run(options))
    except ChrekError as error:
        logging.getLogger(__name__).error("%s%s", error, f": {error.hint}" if error.hint else "")
        return error.exit_code
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="chrek-operator", description="Turns DynamoCheckpoints and graphs into captured workers.")
    parser.add_argument("--kubeconfig", help="default: KUBECONFIG, ~/.kube/config, or the pod's service account")
    parser.add_argument("--context", help="context in the kubeconfig")
    parser.add_argument("--namespace", nargs="+", default=["all"], metavar="NS", help="namespaces to serve, or all (default)")
    parser.add_argument("--storage-type", choices=["pvc"], default="pvc", help="backend of the artifact store")
    parser.add_argument("--base-path", default=names.BASE_PATH, help="where the agents mount the store (default %(default)s)")
    parser.add_argument(
        "--mode",
        choices=["own", "integrate"],
        default="own",
        help="own: graphs become Deployments; integrate: the Dynamo platform runs graphs, only their checkpoints are created",
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="log everything")
    return parser


async def _run(options: argparse.Namespace) -> None:
    settings = Settings(
        namespaces=() if "all" in options.namespace else tuple(options.namespace),
        mode=options.mode,
        storage_type=options.storage_type,
        base_path=options.base_path,
    )
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with Cluster.connect(kubeconfig=options.kubeconfig, context=options.context) as cluster:
        await cluster.version()
        await run_operator(cluster, settings, stop)


if __name__ == "__main__":
    sys.exit(main())
