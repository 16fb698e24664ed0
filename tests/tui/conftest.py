"""A cluster that lives in memory and does only what a test tells it, under a clock that stands still."""

import asyncio
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from kubectl_chrek.api import names
from kubectl_chrek.api.errors import ChrekError
from kubectl_chrek.cluster import Event
from kubectl_chrek.tui.app import ChrekApp
from kubectl_chrek.tui.plain import Plain
from kubectl_chrek.tui.widgets.table import VirtualTable

NOW = datetime(2026, 3, 4, 12, 0, 0, tzinfo=UTC)


def ago(**units):
    return (NOW - timedelta(**units)).strftime("%Y-%m-%dT%H:%M:%SZ")


class FakeSource:
    """Objects by kind, and a queue of events for each open watch. A `ChrekError` in a queue breaks that watch."""

    server = "https://cluster.example:6443"

    def __init__(self, checkpoints=(), pods=(), events=(), log=""):
        self.checkpoints = list(checkpoints)
        self.pods = list(pods)
        self.event_list = list(events)
        self.log = log
        self.queues = []
        self.deleted = []
        self.watched = []
        self.failures = []
        self.delete_error = None
        self.namespaces_error = None
        self.silent = False
        self.asked_about = []

    async def watch(self, namespace):
        self.watched.append(namespace)
        if self.failures:
            raise self.failures.pop(0)
        if self.silent:
            await asyncio.Event().wait()
        async for event in self._follow(lambda: [body for body in self.checkpoints if namespace in ("", _namespace(body))]):
            yield event

    async def watch_pods(self, namespace, checkpoint):
        async for event in self._follow(lambda: list(self.pods)):
            yield event

    async def _follow(self, present):
        queue = asyncio.Queue()
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

    def send(self, kind, body, watch=0):
        """One change to one watch; the list's is the first one opened."""
        self.queues[watch].put_nowait(Event(kind, body))

    def fail(self, error, watch=0):
        self.queues[watch].put_nowait(error)

    async def namespaces(self):
        if self.namespaces_error:
            raise self.namespaces_error
        return sorted({_namespace(body) for body in self.checkpoints} | {"default"})

    async def events(self, namespace, about: Sequence[str]):
        self.asked_about.append(tuple(about))
        return self.event_list

    async def logs(self, namespace, pod):
        return self.log

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
    source = pilot.app.session.source
    while any(not queue.empty() for queue in source.queues) or pilot.app.pace.pending:
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
