"""The kinds we talk about, and their paths on an API server."""

from dataclasses import dataclass
from typing import Final

from kubectl_chrek.api import names
from kubectl_chrek.api.errors import UsageError


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind, as its server spells it."""

    api_version: str
    kind: str
    plural: str
    namespaced: bool = True

    @property
    def group(self) -> str:
        """Empty for the core group."""
        return self.api_version.rpartition("/")[0]

    @property
    def display(self) -> str:
        """As kubectl prints it before a name: `job.batch`, `pod`."""
        return f"{self.kind.lower()}.{self.group}" if self.group else self.kind.lower()

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """URL path; without a namespace, all namespaces.

        Raises:
            UsageError: A name would lead to another path.
        """
        for part in (namespace, name):
            if "/" in part or "%" in part or part in (".", ".."):
                raise UsageError(f"{part!r} is no name of a {self.kind} or namespace")
        parts = ["", "apis" if self.group else "api", self.api_version]
        if self.namespaced and namespace:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        parts += [part for part in (name, subresource) if part]
        return "/".join(parts)


CHECKPOINTS: Final = Resource(names.API_VERSION, names.CHECKPOINT_KIND, names.CHECKPOINT_PLURAL)
GRAPHS: Final = Resource(names.API_VERSION, names.GRAPH_KIND, names.GRAPH_PLURAL)
POLICIES: Final = Resource(names.API_VERSION, names.POLICY_KIND, names.POLICY_PLURAL)
CHREK_NODES: Final = Resource(names.API_VERSION, names.NODE_KIND, names.NODE_PLURAL, namespaced=False)
PODS: Final = Resource("v1", "Pod", "pods")
EVENTS: Final = Resource("v1", "Event", "events")
SECRETS: Final = Resource("v1", "Secret", "secrets")
CONFIG_MAPS: Final = Resource("v1", "ConfigMap", "configmaps")
CLAIMS: Final = Resource("v1", "PersistentVolumeClaim", "persistentvolumeclaims")
SERVICE_ACCOUNTS: Final = Resource("v1", "ServiceAccount", "serviceaccounts")
NAMESPACES: Final = Resource("v1", "Namespace", "namespaces", namespaced=False)
NODES: Final = Resource("v1", "Node", "nodes", namespaced=False)
JOBS: Final = Resource("batch/v1", "Job", "jobs")
DEPLOYMENTS: Final = Resource("apps/v1", "Deployment", "deployments")
REPLICA_SETS: Final = Resource("apps/v1", "ReplicaSet", "replicasets")
LEASES: Final = Resource("coordination.k8s.io/v1", "Lease", "leases")
CLUSTER_ROLES: Final = Resource("rbac.authorization.k8s.io/v1", "ClusterRole", "clusterroles", namespaced=False)
MUTATING_WEBHOOKS: Final = Resource(
    "admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration", "mutatingwebhookconfigurations", namespaced=False
)
VALIDATING_WEBHOOKS: Final = Resource(
    "admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", "validatingwebhookconfigurations", namespaced=False
)
CRDS: Final = Resource("apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions", namespaced=False)
