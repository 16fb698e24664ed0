"""The claims that a graph asks us to create: `spec.pvcs` with `create: true`."""

from collections.abc import Mapping
from typing import Any, Final

from chrek_operator.objects import check_label
from kubectl_chrek.api import names
from kubectl_chrek.api.errors import UsageError
from kubectl_chrek.cluster.resources import CLAIMS

ACCESS_MODE: Final = "ReadWriteMany"

Body = dict[str, Any]


def service_claims(graph: Body, service: str) -> list[Body]:
    """The claims of the graph that a service mounts. They belong to nobody: what is in them outlives the graph.

    Raises:
        UsageError: One of them has no size.
    """
    spec = graph.get("spec") or {}
    mounted = {mount.get("name") for mount in (spec["services"][service] or {}).get("volumeMounts") or ()}
    created = [claim for claim in spec.get("pvcs") or () if isinstance(claim, Mapping) and claim.get("create")]
    return [_claim(graph, claim) for claim in created if claim.get("name") in mounted]


def _claim(graph: Body, claim: Mapping[str, Any]) -> Body:
    if not claim.get("size"):
        raise UsageError(f"spec.pvcs: claim {claim['name']} is to be created and has no size", hint="set its size, such as 100Gi")
    labels = {
        names.LABEL_GRAPH: check_label(graph["metadata"]["name"], "the graph's name"),
        "app.kubernetes.io/managed-by": names.MANAGER,
    }
    spec: Body = {
        "accessModes": [claim.get("volumeAccessMode") or ACCESS_MODE],
        "resources": {"requests": {"storage": str(claim["size"])}},
    }
    if claim.get("storageClass"):
        spec["storageClassName"] = claim["storageClass"]
    metadata = {"name": claim["name"], "labels": labels}
    return {"apiVersion": CLAIMS.api_version, "kind": CLAIMS.kind, "metadata": metadata, "spec": spec}
