"""What an operator is told at its start."""

from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from kubectl_chrek.api import names

Mode = Literal["own", "integrate"]


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where the API server finds our webhooks: a Service (the usual), or a URL for an operator outside of the cluster."""

    namespace: str
    """Of the operator, the Service and the certificate's Secret."""
    service: str = names.OPERATOR
    url: str = ""
    """`https://host:port`, in place of the Service."""
    address: str = "0.0.0.0"  # noqa: S104 - the Service's traffic comes to the pod's address
    port: int = 9443
    exempt: tuple[str, ...] = ()
    """Namespaces whose pods are left alone."""

    @property
    def hosts(self) -> tuple[str, ...]:
        """What the server's certificate is for."""
        host = urlsplit(self.url).hostname
        return (host,) if host else (f"{self.service}.{self.namespace}.svc", f"{self.service}.{self.namespace}.svc.cluster.local")


@dataclass(frozen=True, slots=True)
class Settings:
    """The operator's settings. Times are in seconds."""

    namespaces: tuple[str, ...] = ()
    """Empty: all namespaces."""
    mode: Mode = "own"
    """`own`: graphs become Deployments. `integrate`: another operator runs graphs, ours only creates their checkpoints."""
    storage_type: str = "pvc"
    base_path: str = names.BASE_PATH
    poll: float = 10.0
    """How often a checkpoint in the making is looked at when no event comes: pods are not watched."""
    grace: float = 30.0
    """How long after its Job's success an artifact may still appear."""
    resync: float = 60.0
    """How often everything is looked at, whatever the events said."""
    webhook: Webhook | None = None
    """None: no webhooks are served."""
    lease_namespace: str = ""
    """Where the Lease lies by which one of several operators acts; empty: there is but one."""
    lease_seconds: float = 15.0
    """How long a Lease counts that is not renewed."""
