"""Which cluster and namespace a user means."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from kubectl_chrek.cluster import Cluster

REQUEST_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class ConnectionOptions:
    """kubectl's global flags. Empty strings mean: as the kubeconfig says. `request_seconds` bounds each request, 0 does not."""

    namespace: str = ""
    all_namespaces: bool = False
    context: str = ""
    kubeconfig: str = ""
    cluster: str = ""
    user: str = ""
    server: str = ""
    token: str = ""
    impersonate: str = ""
    groups: tuple[str, ...] = ()
    request_seconds: float = REQUEST_SECONDS

    def scope(self, cluster: "Cluster") -> str:
        """The namespace to list in; empty for all."""
        return "" if self.all_namespaces else cluster.namespace


@asynccontextmanager
async def open_cluster(options: ConnectionOptions) -> AsyncIterator["Cluster"]:
    """Opens the connection.

    Raises:
        ClusterError: There are no usable credentials.
    """
    from kubectl_chrek.cluster import Cluster
    from kubectl_chrek.cluster.credentials import Overrides

    overrides = Overrides(options.cluster, options.user, options.server, options.token, options.impersonate, options.groups)
    async with Cluster.connect(
        kubeconfig=options.kubeconfig or None,
        context=options.context or None,
        namespace=options.namespace or None,
        overrides=overrides,
    ) as cluster:
        cluster.request_seconds = options.request_seconds
        yield cluster
