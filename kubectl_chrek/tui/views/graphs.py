"""Graphs and other workloads as a tree in rows: graph, its services, their pods; each pod with how it started and why so."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from textual.content import Content

from kubectl_chrek.api import names
from kubectl_chrek.api.errors import UsageError
from kubectl_chrek.api.graph import ServiceCheckpoint, read_service_checkpoint
from kubectl_chrek.ops.formatting import human_age, human_seconds
from kubectl_chrek.tui.plain import clean, span
from kubectl_chrek.tui.views.entries import Entry
from kubectl_chrek.tui.views.overview import Fact, section
from kubectl_chrek.tui.views.phases import result_of
from kubectl_chrek.tui.views.pods import Pod, read_pod, read_startup
from kubectl_chrek.tui.widgets.cells import Cell, Column, Tone

GRAPH_COLUMNS: Final = (
    Column("namespace", "NAMESPACE", least=9, rank=4),
    Column("name", "NAME", least=24, rank=0, keep_end=False),
    Column("start", "START", least=12, rank=1),
    Column("seconds", "SECONDS", least=7, rank=2, right=True),
    Column("checkpoint", "CHECKPOINT", least=12, rank=3),
    Column("ready", "READY", least=5, rank=5, right=True),
    Column("node", "NODE", least=8, rank=7, keep_end=True),
    Column("age", "AGE", least=5, rank=6, right=True),
    Column("why", "WHY", least=12, rank=8),
)
_DASH: Final = Cell("-", Tone.MUTED)

Body = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Worker:
    """A pod with its place in the tree. `workload` is a graph's name, or what owns the pod."""

    pod: Pod
    namespace: str
    graph: str
    workload: str
    checkpoint: str
    why: str


def read_worker(body: Body) -> Worker:
    """The view of a raw pod."""
    metadata = body["metadata"]
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    pod = read_pod(body)
    startup = read_startup(annotations.get(names.ANNOTATION_STARTUP, ""))
    asked = annotations.get(names.ANNOTATION_RESTORE_FROM, "") or labels.get(names.LABEL_NAME, "")
    graph = str(labels.get(names.LABEL_GRAPH, ""))
    return Worker(
        pod=pod,
        namespace=str(metadata.get("namespace", "")),
        graph=graph,
        workload=str(labels.get(names.LABEL_COMPONENT, "")) if graph else _owner(metadata, labels),
        checkpoint=str(startup.get("checkpoint") or asked),
        why=pod.why or clean(annotations.get(names.ANNOTATION_UNTOUCHED, "")),
    )


def graph_entries(graphs: Iterable[Body], workers: Iterable[Worker], now: datetime) -> list[Entry]:
    """The tree: graphs by namespace and name, then workloads that belong to no graph."""
    left: dict[tuple[str, str], list[Worker]] = {}
    for worker in sorted(workers, key=lambda worker: (worker.namespace, worker.workload, worker.pod.name)):
        left.setdefault((worker.namespace, worker.graph), []).append(worker)
    entries: list[Entry] = []
    for graph in sorted(graphs, key=_place):
        entries += _graph(graph, left.pop(_place(graph), []), now)
    for (namespace, name), pods in sorted(left.items()):
        title = f"graph {name} (gone)" if name else "workloads"
        entries.append(_branch(f"{namespace}/{name}", namespace, title, pods, "", []))
        entries += _services(namespace, dict.fromkeys(worker.workload for worker in pods), {}, pods, now)
    return entries


def _place(body: Body) -> tuple[str, str]:
    metadata = body["metadata"]
    return str(metadata.get("namespace", "")), str(metadata["name"])


def _owner(metadata: Body, labels: Mapping[str, str]) -> str:
    """What owns a pod, as people name it: a ReplicaSet goes by its Deployment's name."""
    owners = metadata.get("ownerReferences") or []
    if not owners:
        return str(metadata["name"])
    name = str(owners[0].get("name", ""))
    suffix = f"-{labels.get('pod-template-hash', '')}"
    return name.removesuffix(suffix) if owners[0].get("kind") == "ReplicaSet" else name


def _graph(graph: Body, pods: Sequence[Worker], now: datetime) -> list[Entry]:
    namespace, name = _place(graph)
    services = (graph.get("spec") or {}).get("services")
    specs = {str(key): value for key, value in services.items()} if isinstance(services, Mapping) else {}
    order = dict.fromkeys([*specs, *(worker.workload for worker in pods)])
    labels = graph["metadata"].get("labels") or {}
    head = _branch(f"{namespace}/{name}", namespace, f"graph {name}", pods, "", [("Graph", [span(name)])], labels)
    return [head, *_services(namespace, order, specs, pods, now, graph=name)]


def _services(
    namespace: str, order: Iterable[str], specs: Mapping[str, Any], pods: Sequence[Worker], now: datetime, *, graph: str = ""
) -> list[Entry]:
    by_service: dict[str, list[Worker]] = {}
    for worker in pods:
        by_service.setdefault(worker.workload, []).append(worker)
    entries = []
    for service in order:
        own = by_service.get(service, [])
        block, wrong = _block(service, specs.get(service))
        asked = (block.ref or (block.identity.hash if block.identity else "")) if block else ""
        facts: list[Fact] = [("Checkpoint", [span(asked or "none asked for")])]
        if block:
            facts.append(("Mode", [span(f"{block.mode}, {block.startup_policy}")]))
        if wrong:
            facts.append(("Error", [span(wrong, "$text-error")]))
        key = f"{namespace}/{graph}/{service}"
        entries.append(_branch(key, namespace, f"  {service or '(no service)'}", own, asked or _asked(own), facts, wrong=wrong))
        entries += [_leaf(worker, now) for worker in own]
    return entries


def _block(service: str, spec: Any) -> tuple[ServiceCheckpoint | None, str]:
    try:
        return (read_service_checkpoint(service, spec) if isinstance(spec, Mapping) else None), ""
    except UsageError as error:
        return None, str(error)


def _asked(pods: Sequence[Worker]) -> str:
    found = {worker.checkpoint for worker in pods if worker.checkpoint}
    return found.pop() if len(found) == 1 else ""


def _branch(
    key: str,
    namespace: str,
    title: str,
    pods: Sequence[Worker],
    checkpoint: str,
    facts: list[Fact],
    labels: Mapping[str, str] | None = None,
    wrong: str = "",
) -> Entry:
    """A graph or a service: what its pods come to."""
    targets = [worker for worker in pods if not worker.pod.source]
    restored = [worker for worker in targets if worker.pod.result == "restored"]
    cold = [worker for worker in targets if worker.pod.result == "cold"]
    start = f"✓ {len(restored)}  ❄ {len(cold)}" if restored or cold else "-"
    tone = Tone.WARNING if cold else Tone.GOOD if restored else Tone.MUTED
    ready = sum(1 for worker in targets if worker.pod.ready.partition("/")[0] == worker.pod.ready.partition("/")[2] != "0")
    told = [*facts, ("Pods", [span(f"{len(targets)}, of them {len(restored)} restored and {len(cold)} cold")])]
    return Entry(
        key=key,
        name=title.strip().removeprefix("graph "),
        namespace=namespace,
        checkpoint=checkpoint,
        labels=labels or {},
        cells=(
            Cell(clean(namespace)),
            Cell(clean(title)),
            Cell("✗ invalid", Tone.BAD) if wrong else Cell(start, tone),
            _DASH,
            Cell(clean(checkpoint)) if checkpoint else _DASH,
            Cell(f"{ready}/{len(targets)}"),
            _DASH,
            _DASH,
            Cell(clean(wrong), Tone.BAD) if wrong else _DASH,
        ),
        about=lambda width: section(title.strip(), told, width),
    )


def _leaf(worker: Worker, now: datetime) -> Entry:
    pod = worker.pod
    return Entry(
        key=pod.key,
        name=pod.name,
        namespace=worker.namespace,
        checkpoint=worker.checkpoint,
        labels=pod.body["metadata"].get("labels") or {},
        cells=(
            Cell(clean(worker.namespace)),
            Cell(f"    {pod.name}"),
            Cell("◉ captured", Tone.MUTED) if pod.source else result_of(pod.result),
            Cell(human_seconds(pod.seconds)) if pod.seconds > 0 else _DASH,
            Cell(clean(worker.checkpoint)) if worker.checkpoint else _DASH,
            Cell(pod.ready),
            Cell(pod.node) if pod.node else _DASH,
            Cell(human_age(pod.created, now), Tone.MUTED),
            Cell(worker.why) if worker.why else _DASH,
        ),
        about=lambda width: _view(worker, width),
    )


def _view(worker: Worker, width: int) -> Content:
    pod = worker.pod
    startup = read_startup((pod.body["metadata"].get("annotations") or {}).get(names.ANNOTATION_STARTUP, ""))
    phases = startup.get("phases")
    told = ", ".join(f"{name} {_seconds(value)}" for name, value in phases.items()) if isinstance(phases, Mapping) else ""
    pairs = (("Status", pod.status), ("Start", result_of(pod.result).text), ("Because", worker.why), ("Phases", told))
    return section(pod.name, [(label, [span(text)]) for label, text in pairs if text], width)


def _seconds(value: object) -> str:
    return human_seconds(value) if isinstance(value, int | float) and value >= 0 else str(value)
