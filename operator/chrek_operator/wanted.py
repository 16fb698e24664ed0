"""What a graph is about, as far as others have to find it. Pure, and forgiving: what is wrong with a graph is told elsewhere."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from chrek_operator.deployments import deployment_name
from chrek_operator.objects import check_name, is_hash
from kubectl_chrek.api.errors import UsageError
from kubectl_chrek.api.graph import ServiceCheckpoint, read_service_checkpoint


@dataclass(frozen=True, slots=True)
class Wanted:
    """Names and hashes of the checkpoints that a graph's services refer to."""

    names: frozenset[str] = frozenset()
    hashes: frozenset[str] = frozenset()


def wanted_checkpoints(graph: Mapping[str, Any]) -> Wanted:
    """What the readable blocks of a graph refer to."""
    blocks = list(_blocks(graph))
    refs = frozenset(block.ref for block in blocks if block.ref)
    by_hash = frozenset(block.identity.hash for block in blocks if not block.ref and block.identity is not None)
    return Wanted(refs, by_hash | {ref for ref in refs if is_hash(ref)})


def deployment_names(graph: Mapping[str, Any]) -> Iterator[str]:
    """Names of the Deployments of a graph's services."""
    for service in _services(graph):
        with suppress(UsageError):
            yield deployment_name(graph["metadata"]["name"], service)


def _blocks(graph: Mapping[str, Any]) -> Iterator[ServiceCheckpoint]:
    for service, spec in _services(graph).items():
        with suppress(UsageError):
            block = read_service_checkpoint(service, spec or {})
            if block is not None:
                if block.ref:
                    check_name(block.ref)
                yield block


def _services(graph: Mapping[str, Any]) -> Mapping[str, Any]:
    return (graph.get("spec") or {}).get("services") or {}
