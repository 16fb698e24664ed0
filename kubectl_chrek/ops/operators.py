"""The operators of a cluster: deployments, or pods that somebody else keeps running, as the local cluster does."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kubectl_chrek.api import names
from kubectl_chrek.cluster import Cluster
from kubectl_chrek.cluster.resources import DEPLOYMENTS, PODS


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator; `available` says whether any of its pods is."""

    namespace: str
    image: str
    available: bool

    @property
    def version(self) -> str:
        """The version in its image's tag; empty when the tag is none."""
        return image_version(self.image)


async def find_operators(cluster: Cluster) -> list[Operator]:
    """Those of all namespaces.

    Raises:
        ClusterError: We may not look there.
    """
    deployments = await cluster.list(DEPLOYMENTS, "", fields=f"metadata.name={names.OPERATOR}")
    if deployments:
        return [
            _operator(each, each["spec"]["template"]["spec"], available=bool((each.get("status") or {}).get("availableReplicas")))
            for each in deployments
        ]
    pods = await cluster.list(PODS, "", labels=f"app.kubernetes.io/name={names.OPERATOR}")
    return [_operator(each, each["spec"], available=(each.get("status") or {}).get("phase") == "Running") for each in pods]


def _operator(body: Mapping[str, Any], pod: Mapping[str, Any], *, available: bool) -> Operator:
    containers = pod.get("containers") or [{}]
    return Operator(body["metadata"].get("namespace", ""), str(containers[0].get("image", "")), available)


def image_version(image: str) -> str:
    """The version in an image's tag; empty when the tag is none."""
    tag = image.partition("@")[0].rpartition("/")[2].partition(":")[2].removeprefix("v")
    return tag if tag[:1].isdigit() else ""
