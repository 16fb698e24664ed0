"""The kinds that are served: those built in, and those a CustomResourceDefinition adds."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

OBJECT_VERBS: Final = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table; `path` is the JSONPath of a printer column. Priority above 0 shows with `-o wide` only."""

    name: str
    type: str = "string"
    path: str = ""
    priority: int = 0
    description: str = ""
    format: str = ""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of objects as the server knows it."""

    group: str
    version: str
    kind: str
    plural: str
    singular: str = ""
    list_kind: str = ""
    namespaced: bool = True
    short: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: frozenset[str] = frozenset()
    verbs: tuple[str, ...] = OBJECT_VERBS
    generations: bool = False
    """Whether metadata.generation counts the changes of the spec."""
    schema: Mapping[str, Any] | None = field(default=None, compare=False)
    """The structural schema of a custom resource; None for what is built in."""
    columns: tuple[Column, ...] = ()

    @property
    def api_version(self) -> str:
        """`v1`, `apps/v1`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def resource(self) -> str:
        """`pods`, `jobs.batch`: the name in messages and the key in the store."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def title(self) -> str:
        """`Pod`, `Job.batch`: the kind in messages."""
        return f"{self.kind}.{self.group}" if self.group else self.kind

    @property
    def one(self) -> str:
        """The singular name."""
        return self.singular or self.kind.lower()

    @property
    def many(self) -> str:
        """The kind of a list."""
        return self.list_kind or f"{self.kind}List"

    @property
    def custom(self) -> bool:
        """Whether a CustomResourceDefinition made it."""
        return self.schema is not None

    @property
    def creates_only(self) -> bool:
        """Whether it is a question (a review) and not an object that is kept."""
        return self.verbs == ("create",)


def _kind(api_version: str, kind: str, plural: str, *short: str, sub: str = "", **more: Any) -> Kind:
    group, _, version = api_version.rpartition("/")
    return Kind(group, version, kind, plural, short=short, subresources=frozenset(sub.split()), **more)


def _question(group: str, kind: str, *, namespaced: bool = False) -> Kind:
    return Kind(group, "v1", kind, f"{kind.lower()}s", namespaced=namespaced, verbs=("create",))


_ALL: Final = ("all",)
_WORKLOAD: Final[Mapping[str, Any]] = {"sub": "status scale", "categories": _ALL, "generations": True}

CUSTOM_RESOURCES: Final = _kind(
    "apiextensions.k8s.io/v1",
    "CustomResourceDefinition",
    "customresourcedefinitions",
    "crd",
    "crds",
    sub="status",
    namespaced=False,
    generations=True,
)
NAMESPACES: Final = _kind("v1", "Namespace", "namespaces", "ns", sub="status finalize", namespaced=False)
PODS: Final = _kind("v1", "Pod", "pods", "po", sub="status log exec binding eviction", categories=_ALL)
SERVICE_ACCOUNTS: Final = _kind("v1", "ServiceAccount", "serviceaccounts", "sa")
CONFIG_MAPS: Final = _kind("v1", "ConfigMap", "configmaps", "cm")
EVENTS: Final = _kind("v1", "Event", "events", "ev")
JOBS: Final = _kind("batch/v1", "Job", "jobs", sub="status", categories=_ALL, generations=True)

BUILT_IN: Final[tuple[Kind, ...]] = (
    CONFIG_MAPS,
    EVENTS,
    NAMESPACES,
    _kind("v1", "Node", "nodes", "no", sub="status", namespaced=False),
    _kind("v1", "PersistentVolumeClaim", "persistentvolumeclaims", "pvc", sub="status"),
    _kind("v1", "PersistentVolume", "persistentvolumes", "pv", sub="status", namespaced=False),
    PODS,
    _kind("v1", "Secret", "secrets"),
    SERVICE_ACCOUNTS,
    _kind("v1", "Service", "services", "svc", sub="status", categories=_ALL),
    _kind("apps/v1", "DaemonSet", "daemonsets", "ds", sub="status", categories=_ALL, generations=True),
    _kind("apps/v1", "Deployment", "deployments", "deploy", **_WORKLOAD),
    _kind("apps/v1", "ReplicaSet", "replicasets", "rs", **_WORKLOAD),
    _kind("apps/v1", "StatefulSet", "statefulsets", "sts", **_WORKLOAD),
    _kind("batch/v1", "CronJob", "cronjobs", "cj", sub="status", categories=_ALL, generations=True),
    JOBS,
    _kind("coordination.k8s.io/v1", "Lease", "leases"),
    _kind("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies", "netpol", generations=True),
    _kind("rbac.authorization.k8s.io/v1", "ClusterRole", "clusterroles", namespaced=False),
    _kind("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", "clusterrolebindings", namespaced=False),
    _kind("rbac.authorization.k8s.io/v1", "Role", "roles"),
    _kind("rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings"),
    _kind(
        "admissionregistration.k8s.io/v1",
        "MutatingWebhookConfiguration",
        "mutatingwebhookconfigurations",
        namespaced=False,
        generations=True,
    ),
    _kind(
        "admissionregistration.k8s.io/v1",
        "ValidatingWebhookConfiguration",
        "validatingwebhookconfigurations",
        namespaced=False,
        generations=True,
    ),
    CUSTOM_RESOURCES,
    _question("authentication.k8s.io", "SelfSubjectReview"),
    _question("authentication.k8s.io", "TokenReview"),
    _question("authorization.k8s.io", "SelfSubjectAccessReview"),
    _question("authorization.k8s.io", "SelfSubjectRulesReview"),
    _question("authorization.k8s.io", "SubjectAccessReview"),
)
