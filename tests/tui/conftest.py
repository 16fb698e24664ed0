"""A cluster that lives in memory and does only what a test tells it, under a clock that stands still."""

import asyncio
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from kubectl_chrek.api import names
from kubectl_chrek.api.checkpoint import read_checkpoint
from kubectl_chrek.api.errors import ChrekError
from kubectl_chrek.api.node import read_node
from kubectl_chrek.cluster import Event
from kubectl_chrek.ops import references, retention, usage
from kubectl_chrek.ops.findings import fail, ok, warn
from kubectl_chrek.ops.logs import Line, Source
from kubectl_chrek.ops.prewarm import Prewarmed
from kubectl_chrek.tui.app import ChrekApp
from kubectl_chrek.tui.plain import Plain
from kubectl_chrek.tui.widgets.table import VirtualTable

NOW = datetime(2026, 3, 4, 12, 0, 0, tzinfo=UTC)


def ago(**units):
    return (NOW - timedelta(**units)).strftime("%Y-%m-%dT%H:%M:%SZ")


class FakeSource:
    """Objects by kind, and a queue of events for each open watch. A `ChrekError` in a queue breaks that watch."""

    server = "https://cluster.example:6443"
    context = ""
    home = "default"

    def __init__(self, checkpoints=(), pods=(), events=(), log="", nodes=(), graphs=(), workers=(), found=()):
        self.checkpoints = list(checkpoints)
        self.pods, self.nodes, self.graphs, self.workers = list(pods), list(nodes), list(graphs), list(workers)
        self.event_list, self.found = list(events), list(found)
        self.log = log
        self.queues, self.opened = [], {}
        self.done, self.deleted, self.watched, self.failures, self.asked_about = [], [], [], [], []
        self.delete_error = self.namespaces_error = self.change_error = None
        self.silent = False
        self.allowed = frozenset({"create", "patch", "delete"})

    async def watch(self, namespace):
        self.watched.append(namespace)
        if self.failures:
            raise self.failures.pop(0)
        if self.silent:
            await asyncio.Event().wait()
        async for event in self._follow(lambda: self._in(namespace), "checkpoints"):
            yield event

    def _in(self, namespace):
        return [body for body in self.checkpoints if namespace in ("", _namespace(body))]

    async def watch_pods(self, namespace, checkpoint):
        async for event in self._follow(lambda: list(self.pods), "pods"):
            yield event

    async def watch_workers(self, namespace):
        async for event in self._follow(lambda: list(self.workers), "workers"):
            yield event

    async def watch_graphs(self, namespace):
        async for event in self._follow(lambda: list(self.graphs), "graphs"):
            yield event

    async def watch_nodes(self):
        async for event in self._follow(lambda: list(self.nodes), "nodes"):
            yield event

    async def follow_logs(self, namespace, checkpoint):
        for line in self.log.splitlines():
            yield Line(ago(minutes=1), Source("job", namespace, "p", "main"), line)
        await asyncio.Event().wait()

    async def _follow(self, present, kind):
        queue = self.opened[kind] = asyncio.Queue()
        self.queues.append(queue)
        try:
            for body in present():
                yield Event("ADDED", body)
            yield Event("SYNCED", {})
            while True:
                event = await queue.get()
                if isinstance(event, Exception):
                    raise event
                yield event
        finally:
            self.queues.remove(queue)

    def send(self, kind, body, watch="checkpoints"):
        """One change to the watch of a kind that was opened last."""
        self.opened[watch].put_nowait(Event(kind, body))

    def fail(self, error, watch="checkpoints"):
        self.opened[watch].put_nowait(error)

    async def namespaces(self):
        if self.namespaces_error:
            raise self.namespaces_error
        return sorted({_namespace(body) for body in self.checkpoints} | {"default"})

    async def events(self, namespace, about: Sequence[str]):
        self.asked_about.append(tuple(about))
        return self.event_list

    async def rights(self, namespace):
        return self.allowed

    def _read(self, namespace):
        return [read_checkpoint(body) for body in self._in(namespace)]

    async def usage(self, namespace):
        found = self._read(namespace)
        used = references.references(found, self.graphs, self.workers)
        return usage.report(found, used, map(read_node, self.nodes))

    async def findings(self, namespace, now):
        return self.found

    async def plan(self, namespace, policy, now):
        policy.check()
        found, nodes = self._read(namespace), [read_node(body) for body in self.nodes]
        facts = references.gather(found, graphs=self.graphs, pods=self.workers, leases=[], nodes=nodes, now=now)
        return retention.plan(found, facts, policy, now)

    async def mark(self, candidate, due):
        self._do("mark", candidate.name, due)

    async def undelete(self, checkpoint):
        self._do("undelete", checkpoint.metadata.name)
        return retention.delete_after(checkpoint) is not None

    async def pin(self, checkpoint, now):
        self._do("pin", checkpoint.metadata.name)

    async def unpin(self, checkpoint):
        self._do("unpin", checkpoint.metadata.name)

    async def verify(self, checkpoint, nonce):
        self._do("verify", checkpoint.metadata.name)

    async def prewarm(self, wanted, namespace):
        self._do("prewarm", wanted.name, namespace)
        return Prewarmed(wanted.name, "created", wanted.body)

    def _do(self, *what):
        if self.change_error:
            raise self.change_error
        self.done.append(what)

    async def delete(self, namespace, name, uid):
        if self.delete_error:
            raise self.delete_error
        self.deleted.append((namespace, name, uid))


def _namespace(body):
    return body["metadata"]["namespace"]


class FakePause:
    """Stands in for `asyncio.sleep`: waits until the test says that the time has passed."""

    def __init__(self):
        self.asked = []
        self._passed = asyncio.Condition()

    async def __call__(self, seconds):
        self.asked.append(seconds)
        async with self._passed:
            await self._passed.wait()

    async def pass_time(self):
        async with self._passed:
            self._passed.notify_all()


def make_checkpoint(name, **given) -> dict:
    """A DynamoCheckpoint; `phase`, `model`, `namespace`, `status`, `created` and more change what matters to a test."""
    identity = {"model": "meta-llama/Llama-3.1-8B-Instruct", "backendFramework": "vllm", "dtype": "bfloat16"}
    identity |= {"tensorParallelSize": 1, "pipelineParallelSize": 1} | given.get("identity", {})
    status = {"phase": given.get("phase", "Ready")} | given.get("status", {})
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.CHECKPOINT_KIND,
        "metadata": {
            "name": name,
            "namespace": given.get("namespace", "default"),
            "uid": given.get("uid", f"uid-{given.get('namespace', 'default')}-{name}"),
            "resourceVersion": "1",
            "creationTimestamp": given.get("created", ago(hours=5)),
        }
        | given.get("metadata", {}),
        "spec": {"identity": identity, "job": {"podTemplateSpec": {"spec": {"containers": [{"name": "main", "image": "vllm"}]}}}},
        "status": status,
    }


def ready_status(**given) -> dict:
    artifact = {
        "generation": "0b7c",
        "digest": "9f" * 32,
        "bytes": 19_327_352_832,
        "files": 431,
        "node": "gpu-a-01",
        "capturedAt": ago(hours=4),
        "coldStartSeconds": 84.2,
        "captureSeconds": 31.4,
        "phases": {"quiesce": 0.4, "cuda": 6.1, "dump": 19.8, "rootfs": 1.2, "verify": 3.5},
    } | given.pop("artifact", {})
    last = {
        "pod": "llama-decode-6d4f8-x2lkq",
        "node": "gpu-a-02",
        "result": "restored",
        "seconds": 6.1,
        "at": ago(minutes=12),
        "phases": {"verify": 1.9, "rootfs": 0.3, "criu": 2.1, "cuda": 1.7},
    } | given.pop("last", {})
    conditions = [
        {
            "type": "JobCreated",
            "status": "True",
            "reason": "JobCreated",
            "message": "Job checkpoint-llama",
            "lastTransitionTime": ago(hours=5),
        },
        {"type": "JobCompleted", "status": "True", "reason": "JobSucceeded", "message": "", "lastTransitionTime": ago(hours=4)},
        {
            "type": "NameIsHash",
            "status": "False",
            "reason": "NameDiffersFromIdentity",
            "message": "the identity's hash is another",
            "lastTransitionTime": ago(hours=5),
        },
    ]
    return {
        "phase": "Ready",
        "jobName": "checkpoint-llama-3-8b",
        "location": "/checkpoints/4f2c9e1ab0d37788",
        "storageType": "pvc",
        "message": "The capture is complete and verified",
        "artifact": artifact,
        "lastRestore": last,
        "restores": 12,
        "coldStarts": 3,
        "conditions": conditions,
    } | given


def make_pod(name, **given) -> dict:
    labels = {names.LABEL_NAME: "llama-3-8b"}
    labels |= {names.LABEL_SOURCE: "true"} if given.get("source") else {names.LABEL_RESTORE: "true"}
    startup = {names.ANNOTATION_STARTUP: given["startup"]} if "startup" in given else {}
    return {
        "metadata": {
            "name": name,
            "namespace": "default",
            "uid": f"uid-{name}",
            "creationTimestamp": given.get("created", ago(minutes=14)),
            "labels": labels,
            "annotations": startup,
        },
        "spec": {"nodeName": given.get("node", "gpu-a-02"), "containers": [{"name": "main"}]},
        "status": {"phase": "Running", "containerStatuses": [{"name": "main", "ready": True, "state": {"running": {}}}]}
        | given.get("status", {}),
    }


def make_event(name, reason, message, **given) -> dict:
    return {
        "metadata": {
            "name": name,
            "namespace": "default",
            "uid": f"uid-{name}",
            "creationTimestamp": given.get("at", ago(minutes=5)),
        },
        "involvedObject": {"kind": given.get("kind", "DynamoCheckpoint"), "name": given.get("about", "llama-3-8b")},
        "reason": reason,
        "message": message,
        "type": given.get("type", "Normal"),
        "count": given.get("count", 1),
        "lastTimestamp": given.get("at", ago(minutes=5)),
    }


def sample_checkpoints() -> list[dict]:
    creating = {
        "jobName": "checkpoint-mixtral",
        "progress": {"step": "dump", "bytesDone": 42_000_000_000, "bytesTotal": 93_000_000_000, "bytesPerSecond": 1_820_000_000.0},
    }
    return [
        make_checkpoint("llama-3-8b", status=ready_status()),
        make_checkpoint(
            "mixtral-8x22b",
            phase="Creating",
            status=creating,
            identity={"model": "mistralai/Mixtral-8x22B-Instruct-v0.1", "tensorParallelSize": 8, "dtype": "float16"},
            created=ago(seconds=74),
        ),
        make_checkpoint(
            "qwen-72b",
            namespace="research",
            phase="Failed",
            status={
                "failure": "the worker was not ready within 3600 s",
                "message": "Job checkpoint-qwen-72b failed: DeadlineExceeded",
            },
            identity={"model": "Qwen/Qwen2.5-72B-Instruct", "backendFramework": "sglang", "tensorParallelSize": 4},
            created=ago(days=2, hours=3),
        ),
        make_checkpoint(
            "deepseek-r1",
            phase="Pending",
            identity={
                "model": "deepseek-ai/DeepSeek-R1",
                "backendFramework": "trtllm",
                "tensorParallelSize": 8,
                "pipelineParallelSize": 2,
            },
            created=ago(seconds=9),
        ),
        make_checkpoint(
            "gemma-2-9b",
            status=ready_status(
                artifact={"bytes": 21_474_836_480, "coldStartSeconds": 51.0},
                last={"result": "cold", "seconds": 52.6, "reason": "chunk 17 of pages-3.img has a wrong digest", "phases": {}},
                restores=0,
                coldStarts=1,
            ),
            identity={"model": "google/gemma-2-9b-it", "dtype": ""},
            created=ago(days=40),
        ),
    ]


def make_node(name, **given) -> dict:
    gpus = [{"model": given.get("gpu", "H200"), "memoryBytes": 143 * 2**30}] * given.get("count", 8)
    return {
        "metadata": {"name": name, "uid": f"uid-{name}", "creationTimestamp": ago(days=9)},
        "status": {
            "agent": {"version": "0.1.0", "pod": f"chrek-agent-{name}", "heartbeatAt": given.get("heard", ago(seconds=12))},
            "platform": {
                "architecture": "x86_64",
                "kernel": "6.8.0",
                "criu": "4.2.1",
                "driver": given.get("driver", "580.95.05"),
                "cuda": "13.0",
                "memoryBytes": 2048 * 2**30,
                "gpus": gpus,
            },
            "store": {
                "type": "pvc",
                "location": "/checkpoints",
                "totalBytes": 4000 * 2**30,
                "freeBytes": 1500 * 2**30,
                "artifacts": 2,
            },
            "cache": {"bytes": 180 * 2**30, "quotaBytes": 500 * 2**30, "hashes": ["4f2c9e1ab0d37788"]},
            "operations": given.get("operations", []),
            "checks": given.get("checks", [{"name": "criu", "verdict": "ok", "message": "4.2.1"}]),
        },
    }


def sample_nodes() -> list[dict]:
    capture = {"kind": "capture", "namespace": "default", "checkpoint": "mixtral-8x22b", "pod": "checkpoint-mixtral-x"}
    capture |= {"step": "dump", "bytesDone": 42 * 10**9, "bytesTotal": 93 * 10**9, "startedAt": ago(seconds=23)}
    slow = {"name": "store", "verdict": "warn", "message": "reads 0.4 GB/s [nfs]", "fix": "mount it with nconnect=16"}
    return [
        make_node("gpu-a-01", operations=[capture]),
        make_node("gpu-a-02", checks=[slow]),
        make_node("gpu-b-01", gpu="A100", driver="535.1", count=4, heard=ago(minutes=9)),
    ]


def sample_graphs() -> list[dict]:
    identity = {"model": "meta-llama/Llama-3.1-8B-Instruct", "backendFramework": "vllm"}
    return [
        {
            "metadata": {"name": "chat", "namespace": "default", "uid": "uid-chat", "labels": {"team": "search"}},
            "spec": {
                "services": {
                    "Frontend": {"replicas": 1},
                    "Decode": {"checkpoint": {"enabled": True, "checkpointRef": "llama-3-8b"}},
                    "Prefill": {"checkpoint": {"enabled": True, "identity": identity}},
                    "Broken": {"checkpoint": {"enabled": True}},
                }
            },
        }
    ]


def sample_workers() -> list[dict]:
    def worker(name, startup=None, **given):
        pod = make_pod(name, **({"startup": json.dumps(startup)} if startup else {}))
        pod["metadata"]["labels"] |= given.get("labels", {})
        pod["metadata"] |= {"ownerReferences": given["owners"]} if "owners" in given else {}
        return pod

    decode = {names.LABEL_GRAPH: "chat", names.LABEL_COMPONENT: "Decode"}
    restored = {"result": "restored", "checkpoint": "llama-3-8b", "seconds": 6.1, "phases": {"verify": 1.9, "criu": 2.1}}
    cold = {"result": "cold", "checkpoint": "llama-3-8b", "reason": "the GPU is an A100, the capture is of an H200", "seconds": 83}
    return [
        worker("chat-decode-0", restored, labels=decode),
        worker("chat-decode-1", cold, labels=decode),
        worker(
            "batch-7d9f-x", restored, owners=[{"kind": "ReplicaSet", "name": "batch-7d9f"}], labels={"pod-template-hash": "7d9f"}
        ),
    ]


@pytest.fixture
def node_body() -> Callable[..., dict]:
    return make_node


@pytest.fixture
def frozen_now() -> datetime:
    return NOW


@pytest.fixture
def checkpoint_body() -> Callable[..., dict]:
    return make_checkpoint


@pytest.fixture
def ready() -> Callable[..., dict]:
    return ready_status


@pytest.fixture
def pod_body() -> Callable[..., dict]:
    return make_pod


@pytest.fixture
def event_body() -> Callable[..., dict]:
    return make_event


@pytest.fixture
def samples() -> list[dict]:
    return sample_checkpoints()


@pytest.fixture
def fake_source() -> type[FakeSource]:
    return FakeSource


@pytest.fixture
def source(samples) -> FakeSource:
    """Five checkpoints in two namespaces, and the pods, events and log of `llama-3-8b`."""
    return FakeSource(
        samples,
        pods=[
            make_pod(
                "checkpoint-llama-3-8b-7hq2v",
                source=True,
                created=ago(hours=5),
                node="gpu-a-01",
                status={
                    "phase": "Succeeded",
                    "containerStatuses": [{"name": "main", "ready": False, "state": {"terminated": {"reason": "Completed"}}}],
                },
            ),
            make_pod("llama-decode-6d4f8-x2lkq", startup='{"result": "restored", "checkpoint": "llama-3-8b", "seconds": 6.1}'),
            make_pod(
                "llama-decode-6d4f8-9wzrp",
                startup=json.dumps({"result": "cold", "reason": "the GPU is an A100, the capture is of an H200", "seconds": 83}),
            ),
            make_pod(
                "llama-decode-6d4f8-m7tqd",
                created=ago(seconds=4),
                status={
                    "phase": "Pending",
                    "containerStatuses": [{"name": "main", "ready": False, "state": {"waiting": {"reason": "ContainerCreating"}}}],
                },
            ),
        ],
        events=[
            make_event("e1", "CaptureStarted", "Capturing pod checkpoint-llama-3-8b-7hq2v", at=ago(hours=4, minutes=1)),
            make_event("e2", "CaptureSucceeded", "18Gi in 31.4s", at=ago(hours=4)),
            make_event("e3", "ColdStart", "the GPU is an A100 [nvidia.com/gpu]", at=ago(minutes=6), type="Warning", count=2),
        ],
        nodes=sample_nodes(),
        graphs=sample_graphs(),
        workers=sample_workers(),
        found=[
            ok("server", "v1.33.0 at https://cluster.example:6443"),
            fail("crd/chreknodes.nvidia.com", "is not installed [/]", "helm upgrade --install chrek charts/chrek"),
            warn("access/pods", "you may not watch", "ask an administrator"),
        ],
        log="INFO loading weights\n\x1b[32mINFO\x1b[0m weights loaded in 61.2s\nINFO ready [/checkpoints]\n",
    )


@pytest.fixture
def pause() -> FakePause:
    return FakePause()


@pytest.fixture
def make_app(pause) -> Callable[..., ChrekApp]:
    """An application whose clock stands still, whose waits end when the test says so, and which redraws at once."""

    def make(source, **options) -> ChrekApp:
        given = {"namespace": "", "now": lambda: NOW, "pause": pause, "redraw_seconds": 0.0} | options
        app = ChrekApp(source, **given)
        # The snapshot plug-in imports Textual, which reads TEXTUAL_THEME, before any conftest can clear it.
        app.theme = "textual-dark"
        return app

    return make


async def settle(pilot) -> None:
    """Until the sources' events have been read and drawn."""
    await pilot.pause()
    session = pilot.app.session
    source = session.source

    def reading():
        listed = source.silent or session.checkpoints.synced or session.checkpoints.outage
        return not listed or any(not queue.empty() for queue in source.queues)

    while reading() or pilot.app.pace.pending:
        await pilot.pause()
    await pilot.pause()


@pytest.fixture
def settled():
    return settle


@pytest.fixture
def outage() -> ChrekError:
    return ChrekError("Unable to connect to the server https://cluster.example:6443: [Errno 111] Connection refused")


class Driver:
    """A running application; after each step everything is drawn."""

    def __init__(self, pilot, settled):
        self.pilot, self.app, self._settled = pilot, pilot.app, settled

    async def press(self, *keys):
        await self.pilot.press(*keys)
        await self._settled(self.pilot)

    async def settle(self):
        await self._settled(self.pilot)

    @property
    def table(self):
        return self.app.screen.query_one(VirtualTable)

    @property
    def names(self):
        return [row.name for row in self.table.rows]

    @property
    def current(self):
        return self.table.current and self.table.current.name

    def text(self, selector):
        return str(self.app.screen.query_one(selector, Plain).content)

    @property
    def notes(self):
        return [note.message for note in self.app._notifications]


@pytest.fixture
def start(make_app, settled):
    class Start:
        def __init__(self, source, size=(120, 40), **options):
            self.running = make_app(source, **options).run_test(size=size)

        async def __aenter__(self):
            driver = Driver(await self.running.__aenter__(), settled)
            await driver.settle()
            return driver

        async def __aexit__(self, *error):
            await self.running.__aexit__(*error)

    return Start
