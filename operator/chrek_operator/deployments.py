"""The Deployment of one service of a graph."""

import re
from collections.abc import Mapping
from typing import Any, Final

from chrek_operator.objects import check_label, digest, owner_reference
from kubectl_chrek.api import names
from kubectl_chrek.cluster.resources import DEPLOYMENTS

APPLIED: Final = "nvidia.com/chrek-applied"
"""Annotation with the digest of what we asked for: fields that the API server or others fill in are not compared."""

Body = dict[str, Any]


def deployment_name(graph: str, service: str) -> str:
    """`<graph>-<service>` in lower case. Raises UsageError when that is too long for a name that becomes a label."""
    name = re.sub(r"[^a-z0-9.-]+", "-", f"{graph}-{service}".lower()).strip("-.")
    return check_label(name, f"spec.services.{service}: the Deployment's name")


def deployment_body(graph: Body, service: str, template: Mapping[str, Any]) -> Body:
    """The Deployment as we want it; without a number of replicas where the service names none."""
    spec: Body = graph["spec"]["services"][service] or {}
    selector = {names.LABEL_GRAPH: graph["metadata"]["name"], names.LABEL_COMPONENT: service}
    metadata = template.get("metadata") or {}
    labels = {**(metadata.get("labels") or {}), **selector}
    pod = {**template, "metadata": {"labels": labels, "annotations": dict(metadata.get("annotations") or {})}}
    replicas = {} if spec.get("replicas") is None else {"replicas": spec["replicas"]}
    wanted = {**replicas, "selector": {"matchLabels": selector}, "template": pod}
    own_labels = _own_metadata(graph, service, "labels") | selector | {"app.kubernetes.io/managed-by": names.MANAGER}
    annotations = _own_metadata(graph, service, "annotations")
    applied = digest([own_labels, annotations, wanted])
    return {
        "apiVersion": DEPLOYMENTS.api_version,
        "kind": DEPLOYMENTS.kind,
        "metadata": {
            "name": deployment_name(graph["metadata"]["name"], service),
            "labels": own_labels,
            "annotations": annotations | {APPLIED: applied},
            "ownerReferences": [owner_reference(graph)],
        },
        "spec": wanted,
    }


def is_current(present: Body, wanted: Body) -> bool:
    """What we ask for has been asked before."""
    annotations = present["metadata"].get("annotations") or {}
    return bool(annotations.get(APPLIED) == wanted["metadata"]["annotations"][APPLIED])


def replacement(present: Body, wanted: Body) -> Body:
    """`wanted` as a whole object in place of `present`; what is not ours stays: others' annotations, and a scaler's replicas."""
    metadata = present["metadata"]
    kept = {key: metadata[key] for key in ("resourceVersion", "finalizers") if metadata.get(key)}
    annotations = {**(metadata.get("annotations") or {}), **wanted["metadata"]["annotations"]}
    spec = {"replicas": present["spec"].get("replicas", 1), **wanted["spec"]}
    return {**wanted, "metadata": {**wanted["metadata"], **kept, "annotations": annotations}, "spec": spec}


def _own_metadata(graph: Body, service: str, kind: str) -> dict[str, str]:
    """Labels or annotations for all children of a graph; a service's own win."""
    spec = graph["spec"]
    return {**(spec.get(kind) or {}), **((spec["services"][service] or {}).get(kind) or {})}
