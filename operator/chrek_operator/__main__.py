"""`python -m chrek_operator`: the operator's command line."""

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import Sequence

from chrek_operator.running import run_operator
from chrek_operator.settings import Settings, Webhook
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
    parser.add_argument("--storage-type", choices=["pvc", "s3", "oci"], default="pvc", help="backend of the artifact store")
    parser.add_argument("--location", default="", metavar="URI", help="where it is, unless in a volume")
    parser.add_argument("--base-path", default=names.BASE_PATH, help="where the agents mount the store (default %(default)s)")
    parser.add_argument(
        "--mode",
        choices=["own", "integrate"],
        default="own",
        help="own: graphs become Deployments; integrate: the Dynamo platform runs graphs, only their checkpoints are created",
    )
    parser.add_argument("--webhook-port", type=int, metavar="PORT", help="serve admission webhooks on this port; absent: none")
    parser.add_argument(
        "--webhook-url", default="", metavar="URL", help="where the API server finds them, for an operator outside of the cluster"
    )
    parser.add_argument("--webhook-exempt", nargs="*", default=[], metavar="NS", help="namespaces whose pods are left alone")
    parser.add_argument("--service", default=names.OPERATOR, help="Service that leads to the webhooks (default %(default)s)")
    parser.add_argument("--leader-elect", action="store_true", help="act only while holding the operators' Lease")
    parser.add_argument(
        "--own-namespace",
        default=os.environ.get("POD_NAMESPACE", "default"),
        metavar="NS",
        help="namespace of the Lease, the Service and the webhooks' Secret (default $POD_NAMESPACE, else default)",
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="log everything")
    return parser


def _webhook(options: argparse.Namespace) -> Webhook | None:
    if options.webhook_port is None:
        return None
    outside = {"address": "127.0.0.1"} if options.webhook_url else {}
    return Webhook(
        namespace=options.own_namespace,
        service=options.service,
        url=options.webhook_url,
        port=options.webhook_port,
        exempt=(options.own_namespace, *options.webhook_exempt) if not options.webhook_url else tuple(options.webhook_exempt),
        **outside,
    )


async def _run(options: argparse.Namespace) -> None:
    settings = Settings(
        namespaces=() if "all" in options.namespace else tuple(options.namespace),
        mode=options.mode,
        storage_type=options.storage_type,
        base_path=options.location.partition("?")[0] or options.base_path,
        webhook=_webhook(options),
        lease_namespace=options.own_namespace if options.leader_elect else "",
    )
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with Cluster.connect(kubeconfig=options.kubeconfig, context=options.context) as cluster:
        await cluster.version()
        await run_operator(cluster, settings, stop)


if __name__ == "__main__":
    sys.exit(main())
