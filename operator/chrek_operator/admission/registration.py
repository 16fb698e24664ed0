"""The webhook configurations: what the API server asks us about, and where. They never block anything when we are away."""

import base64
from collections.abc import Sequence
from typing import Any, Final

from chrek_operator.draft import merge_patch
from chrek_operator.settings import Settings, Webhook
from kubectl_chrek.api import names
from kubectl_chrek.api.errors import ConflictError, NotFoundError
from kubectl_chrek.cluster import Cluster, Resource
from kubectl_chrek.cluster.resources import CLUSTER_ROLES, MUTATING_WEBHOOKS, VALIDATING_WEBHOOKS

MUTATE: Final = "/mutate"
VALIDATE: Final = "/validate"
TIMEOUT_SECONDS: Final = 3
_ANNOTATED: Final = f"has(object.metadata.annotations) && '{names.ANNOTATION_RESTORE_FROM}' in object.metadata.annotations"
_WITHOUT_SHIM: Final = [
    {"key": names.LABEL_RESTORE, "operator": "DoesNotExist"},
    {"key": names.LABEL_SOURCE, "operator": "DoesNotExist"},
]
_PODS: Final = [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"], "scope": "Namespaced"}]
_OURS: Final = (names.CHECKPOINT_PLURAL, names.GRAPH_PLURAL, names.POLICY_PLURAL)

Body = dict[str, Any]


def configurations(settings: Settings, webhook: Webhook, authorities: bytes) -> list[tuple[Resource, Body]]:
    """Both configurations, with the authorities to trust."""
    pods = [_hook("standalone.pods", MUTATE, webhook, authorities, _PODS, _pod_selectors(webhook, _WITHOUT_SHIM))]
    pods[0]["matchConditions"] = [{"name": "asks-for-a-checkpoint", "expression": _ANNOTATED}]
    if settings.mode == "integrate":
        of_graphs = [{"key": key, "operator": "Exists"} for key in (names.LABEL_GRAPH, names.LABEL_COMPONENT)]
        selectors = _pod_selectors(webhook, [*of_graphs, *_WITHOUT_SHIM])
        pods.append(_hook("graphs.pods", MUTATE, webhook, authorities, _PODS, selectors))
    rule = {
        "apiGroups": [names.GROUP],
        "apiVersions": [names.VERSION],
        "resources": list(_OURS),
        "operations": ["CREATE", "UPDATE"],
        "scope": "Namespaced",
    }
    objects = _hook("objects", VALIDATE, webhook, authorities, [rule], {"namespaceSelector": {}, "objectSelector": {}})
    return [
        (MUTATING_WEBHOOKS, _configuration(MUTATING_WEBHOOKS, pods)),
        (VALIDATING_WEBHOOKS, _configuration(VALIDATING_WEBHOOKS, [objects])),
    ]


async def register(cluster: Cluster, wanted: Sequence[tuple[Resource, Body]]) -> None:
    """Creates the configurations, or gives those present what they lack. Raises ChrekError."""
    owners = await _owners(cluster)
    for resource, body in wanted:
        name = body["metadata"]["name"]
        try:
            present = await cluster.get(resource, name)
        except NotFoundError:
            metadata = body["metadata"] | ({"ownerReferences": owners} if owners else {})
            try:
                await cluster.create(resource, body | {"metadata": metadata})
                continue
            except ConflictError:
                present = await cluster.get(resource, name)
        changes = merge_patch({"webhooks": present.get("webhooks")}, {"webhooks": body["webhooks"]})
        if changes:
            version = {"resourceVersion": present["metadata"]["resourceVersion"]}
            await cluster.patch(resource, name, {"metadata": version, **changes})


async def _owners(cluster: Cluster) -> list[Body]:
    """Our ClusterRole, so that the configurations go when the chart does."""
    try:
        role = await cluster.get(CLUSTER_ROLES, names.OPERATOR)
    except NotFoundError:
        return []
    kind = {"apiVersion": CLUSTER_ROLES.api_version, "kind": CLUSTER_ROLES.kind}
    return [kind | {"name": names.OPERATOR, "uid": role["metadata"]["uid"]}]


def _configuration(resource: Resource, hooks: list[Body]) -> Body:
    labels = {"app.kubernetes.io/managed-by": names.MANAGER}
    metadata = {"name": names.OPERATOR, "labels": labels}
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata, "webhooks": hooks}


def _pod_selectors(webhook: Webhook, labels: list[Body]) -> Body:
    """Pods of the system and of our own are none of our business: they must start even while we cannot be reached."""
    exempt = {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": sorted({"kube-system", *webhook.exempt})}
    return {"namespaceSelector": {"matchExpressions": [exempt]}, "objectSelector": {"matchExpressions": labels}}


def _hook(kind: str, path: str, webhook: Webhook, authorities: bytes, rules: list[Body], selectors: Body) -> Body:
    """With every field that the API server would fill in, so that what is there can be compared."""
    where: Body = {"url": f"{webhook.url.rstrip('/')}{path}"}
    if not webhook.url:
        where = {"service": {"name": webhook.service, "namespace": webhook.namespace, "path": path, "port": 443}}
    changing = {"reinvocationPolicy": "Never"} if path == MUTATE else {}
    return {
        "name": f"{kind}.chrek.{names.GROUP}",
        "clientConfig": where | {"caBundle": base64.b64encode(authorities).decode()},
        "rules": rules,
        "failurePolicy": "Ignore",
        "matchPolicy": "Equivalent",
        "sideEffects": "NoneOnDryRun" if path == MUTATE else "None",
        "timeoutSeconds": TIMEOUT_SECONDS,
        "admissionReviewVersions": ["v1"],
        **changing,
        **selectors,
    }
