"""`hash`: the identities in documents, each with its hash."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from kubectl_chrek.api import names
from kubectl_chrek.api.errors import ChrekError, IdentityError, NotFoundError, UsageError
from kubectl_chrek.api.identity import ALIASES, FIELDS, Identity, parse_identity
from kubectl_chrek.ops.documents import parse_documents

_IDENTITY_KEYS: Final = frozenset((*FIELDS, *ALIASES))


@dataclass(frozen=True, slots=True)
class Hashed:
    """An identity found. `label` is for people; `named` is the name of its DynamoCheckpoint, empty when it is none's."""

    identity: Identity
    hash: str
    label: str
    where: str
    named: str = ""

    @property
    def misnamed(self) -> bool:
        """Its DynamoCheckpoint has another name than its hash: legal, but no lookup by hash finds it by name."""
        return bool(self.named) and self.named != self.hash

    def to_dict(self) -> dict[str, Any]:
        """For -o json and yaml."""
        return {
            "hash": self.hash,
            "identity": self.identity.to_spec(),
            "canonical": self.identity.canonical(),
            "source": {"label": self.label, "where": self.where},
        }


@dataclass(frozen=True, slots=True)
class Reference:
    """A graph's service that names a DynamoCheckpoint instead of an identity: legal, but there is nothing to hash."""

    label: str
    where: str
    name: str


Result = Hashed | Reference | UsageError


def of_service(results: Sequence[Result | ChrekError], service: str) -> list[Result | ChrekError]:
    """What was found about one service of graphs, and whatever could not be read.

    Raises:
        NotFoundError: No graph has a checkpoint for it.
    """
    found = [each for each in results if isinstance(each, ChrekError) or each.label.rpartition("/")[2] == service]
    if all(isinstance(each, ChrekError) for each in found):
        labels = [each.label for each in results if not isinstance(each, ChrekError)]
        raise NotFoundError(f"there is no checkpoint for a service {service}", hint=f"found: {', '.join(labels) or 'nothing'}")
    return found


def hash_text(text: str, source: str) -> Iterator[Result]:
    """All identities of a file's text; an error stands in the place of each one that cannot be read."""
    for document in parse_documents(text, source):
        if isinstance(document, UsageError):
            yield document
        else:
            yield from _hash_content(document.content, document.where)


def _hash_identity(spec: object, where: str, field: str, *, label: str = "", named: str = "") -> Hashed | IdentityError:
    """One identity with its hash; its model is the label unless one is given."""
    try:
        identity = parse_identity(spec, where=f"{where}: {field}")
    except IdentityError as error:
        return error
    return Hashed(identity, identity.hash, label or identity.model, where, named)


def _hash_content(content: Any, where: str) -> Iterator[Result]:
    if isinstance(content, list):
        yield from _hash_items(content, where)
    elif not isinstance(content, Mapping):
        hint = "expected a DynamoCheckpoint, a DynamoGraphDeployment or an identity"
        yield UsageError(f"{where}: expected a mapping of fields", hint=hint)
    elif isinstance(content.get("items"), list):
        yield from _hash_items(content["items"], where)
    elif content.get("kind") == names.GRAPH_KIND:
        yield from _hash_graph(content, where)
    else:
        yield _hash_single(content, where)


def _hash_items(items: list[Any], where: str) -> Iterator[Result]:
    for number, item in enumerate(items, 1):
        # Lists in lists mean nothing, and an alias could make one contain itself.
        if isinstance(item, list) or (isinstance(item, Mapping) and isinstance(item.get("items"), list)):
            yield UsageError(f"{where}, item {number}: expected a mapping of fields, got a list")
        else:
            yield from _hash_content(item, f"{where}, item {number}")
    if not items:
        yield UsageError(f"{where}: the list is empty")


def _hash_single(content: Mapping[Any, Any], where: str) -> Hashed | UsageError:
    if content.get("kind") == names.CHECKPOINT_KIND:
        spec = content.get("spec")
        name = _name(content)
        label = f"{names.CHECKPOINT_KIND.lower()}/{name}" if name else ""
        identity = spec.get("identity") if isinstance(spec, Mapping) else None
        return _hash_identity(identity, where, "spec.identity", label=label, named=name)
    if "kind" in content:
        hint = f"expected {names.CHECKPOINT_KIND}, {names.GRAPH_KIND} or an identity"
        return UsageError(f"{where}: kind {content['kind']} has no identity", hint=hint)
    if "identity" in content:
        return _hash_identity(content["identity"], where, "identity")
    if not _IDENTITY_KEYS & content.keys():
        return UsageError(f"{where}: this is no identity", hint="an identity has at least model and backendFramework")
    return _hash_identity(content, where, "identity")


def _hash_graph(graph: Mapping[Any, Any], where: str) -> Iterator[Result]:
    spec = graph.get("spec")
    services = spec.get("services") if isinstance(spec, Mapping) else None
    if not isinstance(services, Mapping):
        yield UsageError(f"{where}: spec.services: expected a mapping of services")
        return
    found = False
    for service, wanted in services.items():
        block = wanted.get("checkpoint") if isinstance(wanted, Mapping) else None
        if not isinstance(block, Mapping):
            continue
        label = f"{names.GRAPH_KIND.lower()}/{_name(graph) or '-'}/{service}"
        if block.get("identity") is not None:
            found = True
            yield _hash_identity(block["identity"], where, f"spec.services.{service}.checkpoint.identity", label=label)
        elif block.get("checkpointRef"):
            found = True
            yield Reference(label, where, str(block["checkpointRef"]))
    if not found:
        yield UsageError(f"{where}: none of the graph's services has a checkpoint identity")


def _name(body: Mapping[Any, Any]) -> str:
    metadata = body.get("metadata")
    return str(metadata.get("name") or "") if isinstance(metadata, Mapping) else ""
