"""The only door to Kubernetes: raw objects in and out, its errors turned into ours."""

from kubectl_chrek.cluster.client import Cluster, Event
from kubectl_chrek.cluster.resources import Resource

__all__ = ["Cluster", "Event", "Resource"]
