"""The demo's story: cold, captured, restored, compared."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Final

import aiohttp

from kubectl_chrek.api import names
from kubectl_chrek.api.checkpoint import Checkpoint, read_checkpoint
from kubectl_chrek.api.errors import ChrekError
from kubectl_chrek.api.rendering import render_pod_template
from kubectl_chrek.cluster import Cluster
from kubectl_chrek.cluster.resources import CHECKPOINTS, GRAPHS, PODS
from kubectl_chrek.ops.formatting import human_bytes

SERVICE: Final = "Worker"
PORT: Final = 8000
QUESTION: Final = "How long does a worker take to start?"
LIMIT_SECONDS: Final = 600.0

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a worker said: its embedding of the question, and its own account of itself."""

    vector: list[float]
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Start:
    """One pod's start: seconds from its creation to its readiness."""

    pod: str
    seconds: float
    answer: Answer


async def tell(kubeconfig: object, graph: Mapping[str, Any], say: Say, begin: float) -> None:
    """Runs the story on a fresh cluster.

    Raises:
        ChrekError: A step failed, or the restored worker is not the captured one.
    """

    def line(text: str) -> None:
        say(f"{time.monotonic() - begin:6.1f} s  {text}")

    async with _limited(), Cluster.connect(kubeconfig=str(kubeconfig)) as cluster:
        cold = await start_cold(cluster, graph)
        line(f"cold: pod {cold.pod} was Ready {cold.seconds:.2f} s after its creation")
        await cluster.delete(PODS, cold.pod)
        name = graph["metadata"]["name"]
        await cluster.create(GRAPHS, with_replicas(graph, 0))
        checkpoint = await wait_checkpoint(cluster, line)
        artifact = checkpoint.status.artifact
        if artifact is not None:
            line(
                f"captured: checkpoint {checkpoint.metadata.name} is Ready: {human_bytes(artifact.bytes)} "
                f"in {artifact.capture_seconds:.2f} s, every file digested and read back"
            )
        warm = await start_restored(cluster, name)
        line(f"restored: pod {warm.pod} was Ready {warm.seconds:.2f} s after its creation")
        for text in compare(cold, warm, await reported(cluster, warm.pod)):
            say(text)


@contextlib.asynccontextmanager
async def _limited() -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            yield
    except TimeoutError as error:
        raise ChrekError(
            f"the demo did not end within {LIMIT_SECONDS:g} s", hint="run it with --keep and look at its logs"
        ) from error


def compare(cold: Start, warm: Start, pod: Mapping[str, Any]) -> list[str]:
    """Both starts side by side.

    Raises:
        ChrekError: The restored worker answers differently, or is no older than its pod.
    """
    if warm.answer.vector != cold.answer.vector:
        raise ChrekError("the restored worker does not give the cold worker's answer")
    facts = warm.answer.facts
    if float(facts["uptime_seconds"]) <= warm.seconds:
        raise ChrekError("the restored worker's clock says that it is not the captured process")
    ratio = cold.seconds / warm.seconds
    same = f"bit-same ({len(warm.answer.vector)} floats)"
    rows = (
        ("", "cold", "restored"),
        ("creation to Ready", f"{cold.seconds:.2f} s", f"{warm.seconds:.2f} s ({ratio:.1f}x faster)"),
        ("answer to one question", f"{len(cold.answer.vector)} floats", same),
        (
            "worker's own uptime",
            f"{cold.answer.facts['uptime_seconds']:.1f} s",
            f"{facts['uptime_seconds']:.1f} s, older than its pod",
        ),
        (
            "worker was started at",
            str(cold.answer.facts["started_at"])[11:23],
            f"{str(facts['started_at'])[11:23]}, in the captured pod",
        ),
        ("hostname", str(cold.answer.facts["hostname"]), str(facts["hostname"])),
    )
    startup = json.loads((pod["metadata"].get("annotations") or {}).get(names.ANNOTATION_STARTUP, "{}"))
    phases = ", ".join(f"{phase} {seconds:.2f}" for phase, seconds in startup.get("phases", {}).items())
    last = f"  of which from the container's start to the worker's: {startup.get('seconds', 0):.2f} s ({phases})"
    return ["", *(f"  {name:<24}{left:<28}{right}" for name, left, right in rows), "", last]


async def start_cold(cluster: Cluster, graph: Mapping[str, Any]) -> Start:
    """The service's pod without any of ours, as the baseline."""
    template = render_pod_template(graph, SERVICE)
    name = f"{graph['metadata']['name']}-cold"
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {**template["metadata"], "name": name}, "spec": template["spec"]}
    begin = time.monotonic()
    await cluster.create(PODS, pod)
    return await _ready(cluster, f"metadata.name={name}", "", begin)


async def start_restored(cluster: Cluster, graph: str) -> Start:
    """Scales the service up: what a user does, and an autoscaler."""
    begin = time.monotonic()
    await cluster.patch(GRAPHS, graph, {"spec": {"services": {SERVICE: {"replicas": 1}}}})
    return await _ready(cluster, "", f"{names.LABEL_RESTORE}=true", begin)


async def _ready(cluster: Cluster, fields: str, labels: str, begin: float) -> Start:
    async with contextlib.aclosing(cluster.watch(PODS, fields=fields, labels=labels)) as events:
        async for event in events:
            conditions = event.object.get("status", {}).get("conditions") or []
            if any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions):
                seconds = time.monotonic() - begin
                answer = await ask(event.object["status"]["podIP"])
                return Start(event.object["metadata"]["name"], seconds, answer)
    raise ChrekError("the pod did not become ready")


async def reported(cluster: Cluster, name: str) -> Mapping[str, Any]:
    """The pod once the agent has told how it started: it may be Ready a moment before."""
    async with contextlib.aclosing(cluster.watch(PODS, fields=f"metadata.name={name}")) as events:
        async for event in events:
            if names.ANNOTATION_STARTUP in (event.object.get("metadata", {}).get("annotations") or {}):
                return event.object
    raise ChrekError(f"pod {name} did not tell how it started")


async def wait_checkpoint(cluster: Cluster, line: Say) -> Checkpoint:
    """The first checkpoint to become Ready; `line` is told of each step. Raises ChrekError when it fails."""
    shown = ""
    async with contextlib.aclosing(cluster.watch(CHECKPOINTS)) as events:
        async for event in events:
            if event.type == "SYNCED":
                continue
            checkpoint = read_checkpoint(event.object)
            if checkpoint.phase == names.Phase.FAILED:
                raise ChrekError(f"the capture failed: {checkpoint.status.message}")
            if checkpoint.ready:
                return checkpoint
            progress = checkpoint.status.progress
            text = f"{checkpoint.phase}: {progress.step}" if progress else checkpoint.phase
            if text != shown:
                line(f"checkpoint {checkpoint.metadata.name} is {text}")
                shown = text
    raise ChrekError("the checkpoint did not become Ready")


async def ask(address: str) -> Answer:
    """Puts the question to a worker. Raises ChrekError when it does not answer."""
    url = f"http://{address}:{PORT}"
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:
            async with session.post(f"{url}/v1/embeddings", json={"input": QUESTION}) as response:
                vector = (await response.json())["data"][0]["embedding"]
            async with session.get(url) as response:
                facts = await response.json()
    except (aiohttp.ClientError, TimeoutError, KeyError) as error:
        raise ChrekError(f"the worker at {address} does not answer: {error}") from error
    return Answer(vector, facts)


def with_replicas(graph: Mapping[str, Any], count: int) -> dict[str, Any]:
    """The graph with this many pods of its service."""
    changed = deepcopy(dict(graph))
    changed["spec"]["services"][SERVICE]["replicas"] = count
    return changed
