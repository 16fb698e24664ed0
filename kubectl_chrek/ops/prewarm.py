"""`prewarm`: the checkpoint of an identity is created, or found if it is there."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final, Literal

from kubectl_chrek.api import names
from kubectl_chrek.api.checkpoint import Checkpoint, read_checkpoint
from kubectl_chrek.api.errors import ChrekError, ConflictError, IdentityError, NotFoundError, UsageError
from kubectl_chrek.api.graph import ServiceCheckpoint, read_checkpoints
from kubectl_chrek.api.identity import Identity, parse_identity
from kubectl_chrek.api.rendering import render_pod_template, worker_container
from kubectl_chrek.cluster import Cluster
from kubectl_chrek.cluster.resources import CHECKPOINTS, GRAPHS
from kubectl_chrek.ops.documents import Document

Body = dict[str, Any]

_BEST_FIRST: Final = (names.Phase.READY, names.Phase.CREATING, names.Phase.PENDING, names.Phase.FAILED)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A checkpoint that shall be there. Without a body it can only be found: by its hash if it has one, else by its name.

    `namespace` is what its document says; empty leaves it to the user.
    """

    name: str
    hash: str
    body: Body | None
    namespace: str = ""


@dataclass(frozen=True, slots=True)
class Prewarmed:
    """What became of it. `name` is the name of the one found, which may differ from the one wanted."""

    name: str
    verb: Literal["created", "unchanged"]
    body: Body


def wanted_from_identity(identity: Identity, template: Mapping[str, Any], labels: Mapping[str, str] | None = None) -> Wanted:
    """A checkpoint named by its hash, whose worker is started by a pod template."""
    body: Body = {
        "apiVersion": names.API_VERSION,
        "kind": names.CHECKPOINT_KIND,
        "metadata": {"name": identity.hash, "labels": {**(labels or {}), names.LABEL_HASH: identity.hash}},
        "spec": {"identity": identity.to_spec(), "job": {"podTemplateSpec": dict(template)}},
    }
    return Wanted(identity.hash, identity.hash, body)


def template_from_command(image: str, command: Sequence[str], *, gpus: int = 0) -> Body:
    """A pod template of one container that runs a command."""
    worker: Body = {"name": names.DEFAULT_CONTAINER, "image": image, "command": list(command)}
    if gpus:
        worker["resources"] = {"limits": {names.GPU_RESOURCE: str(gpus)}}
    return {"spec": {"restartPolicy": "Never", "containers": [worker]}}


def template_from_document(document: Document) -> Body:
    """A pod template from what users have at hand: a pod, a workload with a template, or the template or spec itself.

    Raises:
        UsageError: It is none of these.
    """
    content = document.content
    found: Any = content
    for path in (("spec", "template"), ("template",)):
        inner: Any = content
        for key in path:
            inner = inner.get(key) if isinstance(inner, Mapping) else None
        if isinstance(inner, Mapping):
            found = inner
            break
    if isinstance(found, Mapping) and "containers" in found:
        found = {"spec": found}
    if not isinstance(found, Mapping) or not isinstance(found.get("spec"), Mapping) or worker_container(found) is None:
        hint = "give a Pod, a Job or Deployment, or a pod template"
        raise UsageError(f"{document.where}: this is no pod template", hint=hint)
    metadata = found.get("metadata") or {}
    kept = {key: metadata[key] for key in ("labels", "annotations") if metadata.get(key)}
    return ({"metadata": kept} if kept else {}) | {"spec": dict(found["spec"])}


def wanted_from_document(document: Document) -> list[Wanted]:
    """The checkpoints that a DynamoCheckpoint, a DynamoGraphDeployment or a list of them asks for.

    Raises:
        UsageError: It asks for none, or is off; the message names file and document.
    """
    content = document.content if isinstance(document.content, Mapping) else {}
    if not isinstance(content.get("items"), list):
        return _wanted_from_object(content, document.where)
    items = enumerate(content["items"], 1)
    return [wanted for number, item in items for wanted in _wanted_from_object(item, f"{document.where}, item {number}")]


def _wanted_from_object(content: Any, where: str) -> list[Wanted]:
    kind = content.get("kind") if isinstance(content, Mapping) else None
    try:
        match kind:
            case names.CHECKPOINT_KIND:
                return [_wanted_from_checkpoint(content)]
            case names.GRAPH_KIND:
                return wanted_from_graph(content)
            case _:
                hint = f"give a {names.CHECKPOINT_KIND} or {names.GRAPH_KIND}; --pod-template reads pods"
                raise UsageError(f"kind {kind} is no checkpoint", hint=hint)
    except (UsageError, NotFoundError) as error:
        raise UsageError(f"{where}: {error}", hint=error.hint) from error


def wanted_from_graph(graph: Mapping[str, Any], service: str = "") -> list[Wanted]:
    """The checkpoints of a graph's services, or of one of them; services of one identity share one.

    Raises:
        UsageError: No service has an enabled checkpoint, or its block or its pod is off.
        NotFoundError: There is no such service.
    """
    metadata = graph.get("metadata") or {}
    services = (graph.get("spec") or {}).get("services") or {}
    if service and service not in services:
        raise NotFoundError(f"the graph has no service {service}", hint=f"its services: {', '.join(services) or 'none'}")
    found = [block for block in read_checkpoints(graph) if service in ("", block.service)]
    if not found:
        where = f"service {service}" if service else "no service of the graph"
        verb = "has no enabled checkpoint" if service else "has an enabled checkpoint"
        raise UsageError(f"{where} {verb}", hint="set checkpoint.enabled and checkpoint.identity")
    wanted = [_wanted_from_block(graph, block, str(metadata.get("name") or "")) for block in found]
    namespace = str(metadata.get("namespace") or "")
    unique = {each.name: each for each in reversed(wanted)}
    return [Wanted(each.name, each.hash, each.body, namespace) for each in reversed(unique.values())]


async def wanted_from_live_graph(cluster: Cluster, graph: str, service: str) -> list[Wanted]:
    """As wanted_from_graph, for a graph in the cluster."""
    return wanted_from_graph(await cluster.get(GRAPHS, graph), service)


async def prewarm(cluster: Cluster, wanted: Wanted, namespace: str, *, dry_run: bool = False) -> Prewarmed:
    """Finds the checkpoint by its real hash, whatever its name, or creates it. Safe to repeat and to race.

    Raises:
        NotFoundError: It was referred to by name and is not there.
        UsageError: It was referred to by its hash and is not there, so that it takes a worker to create it.
        ConflictError: Its name is taken by another identity, or by one that is being deleted.
    """
    if wanted.body is None and not wanted.hash:
        return Prewarmed(wanted.name, "unchanged", await cluster.get(CHECKPOINTS, wanted.name, namespace))
    found = await find_same(cluster, wanted.hash, namespace)
    if found:
        return Prewarmed(found["metadata"]["name"], "unchanged", found)
    if wanted.body is None:
        raise no_worker(wanted.hash)
    try:
        created = await cluster.create(CHECKPOINTS, wanted.body, namespace, dry_run=dry_run)
    except ConflictError:
        # Either somebody created the same one since we looked, or the name is taken.
        there = await cluster.get(CHECKPOINTS, wanted.name, namespace)
        if same_identity(wanted.hash, [there]):
            return Prewarmed(wanted.name, "unchanged", there)
        raise _taken(there, wanted) from None
    return Prewarmed(created["metadata"]["name"], "created", created)


def no_worker(identity_hash: str) -> UsageError:
    """The error for an identity that has no checkpoint yet and no worker to make one."""
    hint = "give --image IMAGE -- COMMAND [ARG]..., or --pod-template FILE"
    return UsageError(f"say how the worker starts: there is no checkpoint of this identity ({identity_hash}) yet", hint=hint)


async def find_same(cluster: Cluster, identity_hash: str, namespace: str | None = None) -> Body | None:
    """The checkpoint of this identity, whatever its name, if there is one."""
    found: Body | None = None
    async with aclosing(cluster.pages(CHECKPOINTS, namespace)) as pages:
        async for bodies in pages:
            found = same_identity(identity_hash, [found, *bodies] if found else bodies)
    return found


def same_identity(identity_hash: str, bodies: Iterable[Body]) -> Body | None:
    """The most useful of the checkpoints of this identity that are not being deleted; None when there is none."""
    matching = [body for body in bodies if _hash_of(body) == identity_hash and not body["metadata"].get("deletionTimestamp")]
    return min(matching, key=lambda body: _usefulness(read_checkpoint(body), identity_hash), default=None)


def _usefulness(checkpoint: Checkpoint, identity_hash: str) -> tuple[int, bool, str]:
    name = checkpoint.metadata.name
    return _BEST_FIRST.index(checkpoint.phase), name != identity_hash, name


def _hash_of(body: Body) -> str:
    try:
        return read_checkpoint(body).hash
    except IdentityError:
        return ""


def _taken(there: Body, wanted: Wanted) -> ChrekError:
    if there["metadata"].get("deletionTimestamp"):
        return ConflictError(f"checkpoint {wanted.name} is being deleted", hint="try again when it is gone")
    other = _hash_of(there) or "no valid identity"
    hint = f"delete it, or name the new one by its hash, {wanted.hash}"
    return ConflictError(f"the name {wanted.name} is taken by a checkpoint of another identity ({other})", hint=hint)


def _wanted_from_checkpoint(content: Mapping[str, Any]) -> Wanted:
    spec = content.get("spec") or {}
    metadata = content.get("metadata") or {}
    identity = parse_identity(spec.get("identity"), where="spec.identity")
    if not (spec.get("job") or {}).get("podTemplateSpec"):
        raise UsageError("spec.job.podTemplateSpec: is required")
    name = str(metadata.get("name") or identity.hash)
    body = {**content, "metadata": {**metadata, "name": name}, "spec": {**spec, "identity": identity.to_spec()}}
    body.pop("status", None)
    return Wanted(name, identity.hash, body, str(metadata.get("namespace") or ""))


def _wanted_from_block(graph: Mapping[str, Any], block: ServiceCheckpoint, graph_name: str) -> Wanted:
    if block.ref or block.identity is None:
        return Wanted(block.ref, "", None)
    labels = {names.LABEL_GRAPH: graph_name, names.LABEL_COMPONENT: block.service} if graph_name else {}
    template = render_pod_template(graph, block.service)
    template["spec"]["restartPolicy"] = "Never"
    return wanted_from_identity(block.identity, template, labels)
