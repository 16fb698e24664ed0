"""Carries out what plans say."""

from collections.abc import Sequence
from typing import Any, Final

from kubectl_chrek.api.errors import ConflictError, NotFoundError
from kubectl_chrek.cluster import Cluster, Resource
from kubectl_chrek.local.controllers.actions import Action, Bind, Create, Delete, Emit, Patch
from kubectl_chrek.local.controllers.cache import Cache
from kubectl_chrek.local.events import Recorder

_WORDS: Final = {"Pod": "pod", "ReplicaSet": "replica set"}


class Writer:
    """Writes to the API server, and to the cache what it answered."""

    def __init__(self, cluster: Cluster, cache: Cache, recorder: Recorder) -> None:
        self._cluster = cluster
        self._cache = cache
        self._recorder = recorder

    async def carry_out(self, actions: Sequence[Action]) -> None:
        """Does one thing after the other, until one meets what is gone or has changed: then a new plan is on its way.

        Raises:
            ChrekError: The server refused, or is away.
        """
        try:
            for action in actions:
                await self._carry_out(action)
        except (NotFoundError, ConflictError):
            return

    async def _carry_out(self, action: Action) -> None:
        match action:
            case Create():
                await self._create(action)
            case Delete():
                await self._delete(action)
            case Patch(resource, found, patch, subresource):
                metadata = found["metadata"]
                guarded = {"metadata": {"uid": metadata["uid"]}, **patch}
                self._take(
                    resource,
                    await self._cluster.patch(
                        resource, metadata["name"], guarded, metadata.get("namespace", ""), subresource=subresource
                    ),
                )
            case Bind():
                await self._bind(action)
            case Emit(found, kind, reason, message):
                self._recorder.record(found, kind, reason, message)

    async def _create(self, action: Create) -> None:
        made = await self._cluster.create(action.resource, action.body, action.body["metadata"]["namespace"])
        self._take(action.resource, made)
        if action.resource.kind in _WORDS and action.owner["kind"] != "Deployment":
            message = f"Created {_WORDS[action.resource.kind]}: {made['metadata']['name']}"
            self._recorder.record(action.owner, "Normal", "SuccessfulCreate", message)
        elif action.owner["kind"] == "Deployment":
            message = f"Scaled up replica set {made['metadata']['name']} from 0 to {made['spec'].get('replicas', 1)}"
            self._recorder.record(action.owner, "Normal", "ScalingReplicaSet", message)

    async def _delete(self, action: Delete) -> None:
        metadata = action.object["metadata"]
        answer = await self._cluster.delete(action.resource, metadata["name"], metadata.get("namespace", ""), uid=metadata["uid"])
        # A pod that is given time to end is answered with itself, what is gone at once with a Status or its last state.
        if answer.get("kind") == action.resource.kind and "deletionTimestamp" in answer["metadata"]:
            self._take(action.resource, answer)
        if action.owner is not None:
            message = f"Deleted {_WORDS[action.resource.kind]}: {metadata['name']}"
            self._recorder.record(action.owner, "Normal", "SuccessfulDelete", message)

    async def _bind(self, action: Bind) -> None:
        metadata = action.pod["metadata"]
        body = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": metadata["name"], "namespace": metadata["namespace"], "uid": metadata["uid"]},
            "target": {"apiVersion": "v1", "kind": "Node", "name": action.node},
        }
        binding = Resource("v1", "Binding", f"pods/{metadata['name']}/binding")
        await self._cluster.create(binding, body, metadata["namespace"])
        # The next pod's plan must know, before the watch tells, that this one's requests are taken.
        self._cache.put({**action.pod, "spec": {**action.pod["spec"], "nodeName": action.node}})

    def _take(self, resource: Resource, found: dict[str, Any]) -> None:
        self._cache.put({"apiVersion": resource.api_version, "kind": resource.kind} | found)
