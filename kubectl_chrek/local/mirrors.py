"""Operator and agent of the local cluster as pods: they are processes of this machine, but pods are where one looks for them."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Final

from kubectl_chrek import __version__
from kubectl_chrek.cluster import Cluster
from kubectl_chrek.cluster.resources import NAMESPACES, PODS
from kubectl_chrek.local.apiserver.failures import bad_request
from kubectl_chrek.local.node import MIRROR, Node
from kubectl_chrek.local.node.logs import Line, select, shown
from kubectl_chrek.local.programs import Program

NAMESPACE: Final = "chrek"
_LOOK_SECONDS: Final = 0.2
_NOT_RUN: Final = 126
_TIME: Final = "%Y-%m-%d %H:%M:%S,%f"
_TIME_LENGTH: Final = len("2026-01-29 10:05:00,123")


class Mirrors:
    """Shows programs as pods. `logs` and `exec` are the hooks of an API server: for those pods answered here, else by the node."""

    def __init__(self, node: Node, programs: Mapping[str, Program], environment: Mapping[str, str]) -> None:
        self._node, self._programs, self._environment = node, programs, environment

    async def show(self, cluster: Cluster, node_name: str) -> None:
        """Makes a pod for each program; it is found by the label that the chart gives."""
        await cluster.patch(NAMESPACES, NAMESPACE, _object("v1", "Namespace", {"name": NAMESPACE}), type="apply")
        for name, program in self._programs.items():
            metadata = {"name": f"{name}-local", "namespace": NAMESPACE}
            marks = {"labels": {"app.kubernetes.io/name": name}, "annotations": {MIRROR: name}}
            # The node leaves it alone, so nobody would end it in peace: it goes at once when it is deleted.
            spec = {"nodeName": node_name, "terminationGracePeriodSeconds": 0, "containers": [_container(name, program)]}
            pod = _object("v1", "Pod", metadata | marks) | {"spec": spec}
            await cluster.patch(PODS, metadata["name"], pod, NAMESPACE, type="apply")
            await cluster.patch(PODS, metadata["name"], {"status": _status(name)}, NAMESPACE, subresource="status")

    async def exec(
        self, namespace: str, pod: Mapping[str, Any], container: str, command: Sequence[str]
    ) -> asyncio.subprocess.Process:
        """As Node.exec. In a program's pod there is the program alone."""
        name = _mirrored(pod)
        if not name:
            return await self._node.exec(namespace, pod, container, command)
        if command[0] == name:
            words = [*self._programs[name].command[:3], *command[1:]]
        else:
            refusal = f"{pod['metadata']['name']} is a process of this machine: it runs nothing but {name}"
            words = ["sh", "-c", f'echo "$0" >&2; exit {_NOT_RUN}', refusal]
        pipe = asyncio.subprocess.PIPE
        environment = os.environ | self._environment
        return await asyncio.create_subprocess_exec(*words, stdin=pipe, stdout=pipe, stderr=pipe, env=environment)

    def logs(self, namespace: str, pod: Mapping[str, Any], container: str, **options: Any) -> AsyncIterator[bytes]:
        """As Node.logs."""
        name = _mirrored(pod)
        return _log(self._programs[name].log, **options) if name else self._node.logs(namespace, pod, container, **options)


def _object(version: str, kind: str, metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": dict(metadata)}


def _container(name: str, program: Program) -> dict[str, Any]:
    return {"name": name, "image": f"localhost/{name}:{__version__}", "command": program.command}


def _status(name: str) -> dict[str, Any]:
    now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    running = {"name": name, "ready": True, "restartCount": 0, "state": {"running": {"startedAt": now}}}
    condition = {"type": "Ready", "status": "True", "lastTransitionTime": now}
    return {"phase": "Running", "startTime": now, "conditions": [condition], "containerStatuses": [running]}


def _mirrored(pod: Mapping[str, Any]) -> str:
    """Name of the program that a pod stands for; empty for a pod of the node."""
    return str((pod["metadata"].get("annotations") or {}).get(MIRROR, ""))


async def _log(
    path: Path, *, follow: bool, tail: int | None, previous: bool, since_seconds: float | None, timestamps: bool
) -> AsyncIterator[bytes]:
    """A program's log: one file for all its runs, whose lines begin with their times."""
    if previous:
        raise bad_request("the log of a process of this machine is one")
    since = time.time() - since_seconds if since_seconds is not None else None
    with path.open("rb") as file:
        for line in select(_entries(file), tail=tail, since=since):
            yield shown(line, timestamps=timestamps)
        while follow:
            await asyncio.sleep(_LOOK_SECONDS)
            for line in _entries(file):
                yield shown(line, timestamps=timestamps)


def _entries(file: BinaryIO) -> list[Line]:
    """The lines that were added since the last call; one without a time, as of a traceback, is of the time of the line before."""
    start = file.tell()
    data = file.read()
    complete = data[: data.rfind(b"\n") + 1]
    file.seek(start + len(complete))
    found, at = [], datetime.now(UTC).isoformat()
    for text in complete.splitlines():
        begin = 0
        with contextlib.suppress(ValueError):
            at = datetime.strptime(text[:_TIME_LENGTH].decode(), _TIME).astimezone(UTC).isoformat()
            begin = _TIME_LENGTH + 1
        found.append(Line(at, "stderr", True, text[begin:]))
    return found
