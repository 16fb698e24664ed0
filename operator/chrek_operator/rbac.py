"""What the operator is allowed to do, and no more: the chart's roles are these rules."""

from dataclasses import dataclass
from typing import Any, Final

from chrek_operator.settings import Mode
from kubectl_chrek.api import names

ADMISSION: Final = "admissionregistration.k8s.io"
COORDINATION: Final = "coordination.k8s.io"


@dataclass(frozen=True, slots=True)
class Rule:
    """Verbs on one resource of a group; `only` limits them to objects of these names. `mode`: needed in that mode alone."""

    group: str
    resource: str
    verbs: tuple[str, ...]
    only: tuple[str, ...] = ()
    mode: Mode | None = None

    def to_policy(self) -> dict[str, Any]:
        """As a PolicyRule."""
        named = {"resourceNames": list(self.only)} if self.only else {}
        return {"apiGroups": [self.group], "resources": [self.resource], "verbs": list(self.verbs), **named}


CLUSTER: Final = (
    Rule(names.GROUP, names.CHECKPOINT_PLURAL, ("get", "list", "watch", "create", "patch", "delete")),
    Rule(names.GROUP, f"{names.CHECKPOINT_PLURAL}/status", ("patch",)),
    Rule(names.GROUP, names.GRAPH_PLURAL, ("get", "list", "watch")),
    Rule(names.GROUP, f"{names.GRAPH_PLURAL}/status", ("patch",)),
    Rule(names.GROUP, names.POLICY_PLURAL, ("get", "list", "watch")),
    Rule(names.GROUP, f"{names.POLICY_PLURAL}/status", ("patch",)),
    Rule(names.GROUP, names.NODE_PLURAL, ("list",)),
    Rule("batch", "jobs", ("get", "list", "watch", "create", "delete")),
    Rule("apps", "deployments", ("get", "list", "watch", "create", "update", "patch", "delete"), mode="own"),
    Rule("", "persistentvolumeclaims", ("get", "create"), mode="own"),
    Rule("", "pods", ("list",)),
    Rule("", "pods", ("patch",), mode="integrate"),
    Rule("", "configmaps", ("create",)),
    Rule("", "configmaps", ("get", "patch"), (names.SHIM_CONFIG_MAP,)),
    Rule("", "events", ("create",)),
    Rule(COORDINATION, "leases", ("get", "list")),
    Rule(ADMISSION, "mutatingwebhookconfigurations", ("create",)),
    Rule(ADMISSION, "mutatingwebhookconfigurations", ("get", "patch"), (names.OPERATOR,)),
    Rule(ADMISSION, "validatingwebhookconfigurations", ("create",)),
    Rule(ADMISSION, "validatingwebhookconfigurations", ("get", "patch"), (names.OPERATOR,)),
    Rule("rbac.authorization.k8s.io", "clusterroles", ("get",), (names.OPERATOR,)),
)
"""In all namespaces that it serves. That of the webhooks' configurations, nodes and roles is of the cluster in any case."""

OWN_NAMESPACE: Final = (
    Rule("", "secrets", ("create",)),
    Rule("", "secrets", ("get", "patch"), (names.WEBHOOK_SECRET,)),
    Rule(COORDINATION, "leases", ("create",)),
    Rule(COORDINATION, "leases", ("update",), (names.OPERATOR,)),
)
"""In the operator's own."""
