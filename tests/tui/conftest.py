"""A cluster that lives in memory and does only what a test tells it, under a clock that stands still."""

import asyncio
import json
import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

import pytest
from textual.events import Resize
from textual.geometry import Size
from textual.screen import Screen

sys.path.append(str(Path(__file__).parent))

from tui_samples import (
    NOW,
    ago,
    make_checkpoint,
    make_event,
    make_node,
    make_pod,
    ready_status,
    sample_checkpoints,
    sample_graphs,
    sample_nodes,
    sample_workers,
)

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

_PUT_OFF = 0.005
_REQUIRED = ("_layout_required", "_scroll_required", "_repaint_required", "_recompose_required")
"""What a widget notes for the next time that it is idle."""


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
def rich_samples(samples, ready):
    """The first has all that a status can hold."""
    processes = [{"pid": 1, "name": "python [/]", "threads": 4, "bytes": 2**30}]
    processes += [{"pid": 77, "name": "VLLM::EngineCore", "threads": 93, "bytes": 15 * 2**30}]
    gpus = [{"model": "H200", "memoryBytes": 143 * 2**30}]
    record = {"architecture": "x86_64", "kernel": "6.8.0", "criu": "4.2.1", "driver": "580.95.05", "cuda": "13.0", "gpus": gpus}
    artifact = {"storedBytes": 9 * 2**30, "uniqueBytes": 6 * 2**30, "sharedBytes": 5 * 2**30, "packs": 12}
    artifact |= {"compatibility": record, "processes": processes, "phaseBytes": {"dump": 9 * 10**9, "verify": 19 * 10**9}}
    verification = {
        "nonce": "1",
        "result": "ok",
        "node": "gpu-a-02",
        "bytes": 18 * 2**30,
        "seconds": 3.2,
        "at": "2026-03-04T11:00:00Z",
    }
    caches = [{"node": "gpu-a-02", "bytes": 18 * 2**30, "at": "2026-03-04T10:00:00Z"}]
    last = {"phases": {"skeleton": 0.2, "criu": 1.1, "fill": 3.6, "gpu": 0.9}, "phaseBytes": {"fill": 18 * 10**9}}
    samples[0]["status"] = ready(artifact=artifact, last=last, verification=verification, caches=caches)
    samples[0]["metadata"]["labels"] = {"team": "search"}
    return samples


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
        # The snapshot plug-in imports Textual, which reads TEXTUAL_THEME and TEXTUAL_ANIMATIONS, before any conftest can set them.
        app.theme, app.animation_level = "textual-dark", "none"
        return app

    return make


async def settle(pilot) -> None:
    """Until the sources' events have been read, all messages are handled, and all is drawn: twice in a row nothing is left to do.

    A pilot's own pause waits for a process that uses no time, so it takes the longer the busier the machine is.
    """
    quiet = 0
    while quiet < 2:
        # A redraw that is put off keeps nobody busy until its time has come.
        await pilot.pause(_PUT_OFF if pilot.app.pace.pending else 0)
        await pilot.app.animator.wait_until_complete()
        quiet = 0 if _busy(pilot.app) else quiet + 1


def _busy(app) -> bool:
    session, source = app.session, app.session.source
    listed = source.silent or session.checkpoints.synced or session.checkpoints.outage
    if app.pace.pending or not listed or any(not queue.empty() for queue in source.queues):
        return True
    widgets = [*app.screen.walk_children(with_self=True)]
    if any(worker._thread_worker and not worker.is_finished for worker in app.workers):
        return True
    left = any(each.message_queue_size or each._next_callbacks for each in (app, *widgets))
    return left or bool(app.screen._callbacks) or any(getattr(each, required) for each in widgets for required in _REQUIRED)


@pytest.fixture
def settled():
    return settle


@pytest.fixture(autouse=True)
def no_idle_waiting(monkeypatch):
    """After each key Textual waits twice for a process that uses no time, which a busy machine can keep from it; see `settle`."""
    monkeypatch.setattr("textual.app.wait_for_idle", asyncio.sleep)


@pytest.fixture
def unseen(monkeypatch):
    """Frames are not drawn: for tests that look at no terminal, or draw what they look at themselves."""
    monkeypatch.setattr(Screen, "_compositor_refresh", lambda screen: None)


@pytest.fixture
def outage() -> ChrekError:
    return ChrekError("Unable to connect to the server https://cluster.example:6443: [Errno 111] Connection refused")


class Driver:
    """A running application; after each step everything is drawn."""

    def __init__(self, pilot, settled):
        self.pilot, self.app, self._settled = pilot, pilot.app, settled

    async def press(self, *keys):
        for key in keys:
            await self.pilot.press(key)
            await self.settle()

    async def settle(self):
        await self._settled(self.pilot)

    async def resize(self, width, height):
        size = Size(width, height)
        self.app.post_message(Resize(size, size))
        while self.app.screen.outer_size != size:
            await self.pilot.pause(_PUT_OFF)
        await self.settle()

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
