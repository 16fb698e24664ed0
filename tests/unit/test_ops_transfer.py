"""`export` and `import` over connections that break: what was carried is not carried again, and an end is always reached."""

import base64
import io
import json
from contextlib import asynccontextmanager

import pytest

from kubectl_chrek.api import artifact_file
from kubectl_chrek.api.artifact_file import (
    CHUNK,
    END,
    MAGIC,
    MANIFEST,
    OBJECT,
    ArtifactFileError,
    CutError,
    Head,
    Part,
    document,
    measure,
    read_object,
    read_parts,
)
from kubectl_chrek.api.checkpoint import read_checkpoint
from kubectl_chrek.api.errors import ChrekError, ClusterError, NotReadyError
from kubectl_chrek.cluster.execution import BrokenExecutionError, CommandError
from kubectl_chrek.ops import agents, exporting, importing

IDENTITY = {"model": "m", "backendFramework": "vllm"}
BODY = {
    "metadata": {"name": "cp", "namespace": "ns", "uid": "u"},
    "spec": {"identity": IDENTITY, "job": {"podTemplateSpec": {}}},
    "status": {"phase": "Ready", "location": "/checkpoints/x", "artifact": {"generation": "g", "digest": "d", "node": "b"}},
}
CHECKPOINT = read_checkpoint(BODY)
CHUNKS = [Part(CHUNK, bytes([number]) * 101, bytes([number]) * (1000 + number)) for number in range(10)]
OPENING = [Head(CHECKPOINT.hash, "g", "d", len(CHUNKS), 5).part(), document(MANIFEST, b"{}")]
ENDING = document(END, b"{}")


def written(*parts):
    return b"".join(bytes(piece) for part in parts for piece in part.pieces)


SENT = MAGIC + written(*OPENING, *CHUNKS, ENDING)
SAVED = document(OBJECT, json.dumps(exporting.saved_object(CHECKPOINT)).encode())
FILE = MAGIC + written(OPENING[0], SAVED, OPENING[1], *CHUNKS, ENDING)


def pod(name, node, *args, ready="True", **metadata):
    return {
        "metadata": {"name": name, "namespace": "chrek", **metadata},
        "spec": {"nodeName": node, "containers": [{"name": "agent", "args": list(args)}]},
        "status": {"conditions": [{"type": "Ready", "status": ready}]},
    }


class Cluster:
    """Agents that run commands; `cuts` are the bytes after which connections break, one for each connection."""

    def __init__(self, *cuts):
        self.pods = [pod("agent-a", "a"), pod("agent-b", "b")]
        self.cuts, self.ran, self.error, self.namespace = list(cuts), [], None, "ns"
        self.held = set()

    async def list(self, resource, namespace=None, *, labels="", fields=""):
        return self.pods

    @asynccontextmanager
    async def execute(self, cluster, name, namespace, container, command):
        self.ran.append((name, command[1:]))
        yield Running(self, command)


class Running:
    def __init__(self, cluster, command):
        self.cluster, self.command, self.received = cluster, command, b""
        self.cut = cluster.cuts.pop(0) if cluster.cuts and "--ask" not in command else None

    async def write(self, data):
        self.received += bytes(data)
        if self.cut is not None and len(self.received) > self.cut:
            self.received = self.received[: self.cut]
            raise BrokenExecutionError("lost")

    async def read(self):
        if self.cluster.error:
            raise self.cluster.error
        skip = int(self.command[self.command.index("--skip") + 1]) if "--skip" in self.command else None
        data = SENT if skip is None else written(*CHUNKS[skip:], ENDING)
        for start in range(0, len(data) if self.cut is None else self.cut, 100):
            yield data[start : start + 100] if self.cut is None else data[start : min(start + 100, self.cut)]
        if self.cut is not None:
            raise BrokenExecutionError("lost")


@pytest.fixture
def connect(monkeypatch):
    def make(*cuts):
        cluster = Cluster(*cuts)
        monkeypatch.setattr(exporting, "execute", cluster.execute)
        return cluster

    return make


async def export(cluster, path, checkpoint=CHECKPOINT, **options):
    done = []
    size = await exporting.export(cluster, checkpoint, path, raw=False, progress=done.append, **options)
    assert size == done[-1] if done else True
    return size


async def test_the_file_holds_what_the_agent_sent_and_the_checkpoint(connect, tmp_path):
    cluster = connect()
    assert await export(cluster, tmp_path / "f") == len(FILE)
    assert (tmp_path / "f").read_bytes() == FILE
    assert cluster.ran == [("agent-b", ["export", f"{CHECKPOINT.hash}/g", "-", "--store", "/checkpoints"])]
    saved = next(read_object(part) for part in read_parts(io.BytesIO(FILE)) if part.kind == OBJECT)
    assert (saved["kind"], saved["metadata"], saved["spec"]) == ("DynamoCheckpoint", {"name": "cp"}, BODY["spec"])


@pytest.mark.parametrize("cut", [0, 10, 50, len(SENT) // 3, len(SENT) - 1])
async def test_a_connection_that_breaks_is_made_again(connect, tmp_path, cut):
    cluster = connect(cut, 0, 1100, 0, 2500)
    await export(cluster, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == FILE


async def test_connections_that_carry_nothing_end(connect, tmp_path):
    cluster = connect(*[2000] * 1, *[3] * 20)
    with pytest.raises(BrokenExecutionError):
        await export(cluster, tmp_path / "f")
    assert len(cluster.ran) == exporting.ATTEMPTS + 2
    assert measure(io.BytesIO((tmp_path / "f.partial").read_bytes())).chunks == 1
    await export(connect(), tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == FILE


async def test_a_part_of_something_else_is_left_alone(connect, tmp_path):
    partial = tmp_path / "f.partial"
    partial.write_bytes(MAGIC + written(Head("x", "g", "other", 1, 1).part(), OPENING[1]))
    with pytest.raises(ArtifactFileError, match="a part of another artifact"):
        await export(connect(), tmp_path / "f")
    partial.write_bytes(b"some other file of the user's")
    with pytest.raises(ArtifactFileError, match="cannot be continued"):
        await export(connect(), tmp_path / "f")
    assert partial.read_bytes() == b"some other file of the user's"


async def test_what_the_agent_says_is_told(connect, tmp_path):
    cluster = connect()
    cluster.error = CommandError(1, "2026-11-23 14:45:51,353 ERROR pack p is gone")
    with pytest.raises(ChrekError, match=r"^agent agent-b on b: pack p is gone$"):
        await export(cluster, tmp_path / "f")
    with pytest.raises(NotReadyError, match="cp is Creating: there is no artifact"):
        await export(cluster, tmp_path / "f", read_checkpoint(BODY | {"status": {"phase": "Creating"}}))


async def test_an_agent_that_can_reach_the_store_is_found(connect):
    cluster = connect()
    cluster.pods = [
        pod("gone", "a", deletionTimestamp="now"),
        pod("starting", "a", ready="False"),
        pod("bucket", "b", "--storage=s3://bucket/x?endpoint=https://h:1"),
        pod("directory", "c", "--base-path", "/data"),
    ]

    async def found(**options):
        return (await agents.find_agent(cluster, **options)).pod

    assert await found() == "bucket"
    assert await found(prefer="c") == "directory"
    assert await found(prefer="c", location="s3://bucket/x/abc") == "bucket"
    assert await found(location="/data/abc") == "directory"
    agent = await agents.find_agent(cluster, node="b")
    assert agent.command("export") == ["chrek-agent", "export", "--store", "s3://bucket/x?endpoint=https://h:1"]
    for options in ({"node": "a"}, {"location": "/database/abc"}, {"node": "c", "location": "s3://bucket/x/abc"}):
        with pytest.raises(NotReadyError, match="no agent is running"):
            await found(**options)


class Receiver(Cluster):
    """An agent whose store keeps the chunks that have reached it whole."""

    @asynccontextmanager
    async def execute(self, cluster, name, namespace, container, command):
        self.ran.append((name, command[1:]))
        running = Importing(self, command)
        yield running
        running.keep()


class Importing(Running):
    def keep(self):
        stream = io.BytesIO(self.received)
        try:
            for part in read_parts(stream):
                if part.kind == CHUNK:
                    self.cluster.held.add(part.label)
        except CutError:
            pass

    async def write(self, data):
        try:
            await super().write(data)
        except BrokenExecutionError:
            self.keep()
            raise

    async def read(self):
        if "--ask" in self.command:
            bits = sum(1 << number for number, chunk in enumerate(CHUNKS) if chunk.label not in self.cluster.held)
            lacking = bits.bit_count()
            yield json.dumps({"lacking": lacking, "bits": base64.b64encode(bits.to_bytes(2, "little")).decode()}).encode()


async def answered(execution, pieces):
    async for piece in pieces:
        await execution.write(piece)
    return b"".join([data async for data in execution.read()]) or b'{"fresh": true}'


@pytest.fixture
def receive(monkeypatch):
    def make(*cuts):
        cluster = Receiver(*cuts)
        monkeypatch.setattr(importing, "execute", cluster.execute)
        monkeypatch.setattr(importing, "converse", answered)
        return cluster

    return make


AGENT = agents.Agent("chrek", "agent-a", "agent", "a", "/checkpoints")


async def test_only_what_is_lacking_is_sent(receive):
    cluster = receive(4000, 2500, 1500)
    file = io.BytesIO(FILE)
    done = []
    answer = await importing.send(cluster, AGENT, file, importing.read_file(file), lambda *at: done.append(at))
    assert answer == {"fresh": True}
    assert len(cluster.held) == len(CHUNKS)
    assert [words[:3] == ["import", "-", "--ask"] for _, words in cluster.ran] == [True, False] * 4
    assert done[-1] == (len(FILE), len(FILE))


async def test_an_import_that_gets_nowhere_ends(receive):
    cluster = receive(*[40] * 20)
    file = io.BytesIO(FILE)
    with pytest.raises(BrokenExecutionError):
        await importing.send(cluster, AGENT, file, importing.read_file(file), lambda *_: None)
    assert len(cluster.ran) == 2 * (importing.ATTEMPTS + 1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (FILE[:-1], "ends before its end"),
        (FILE[:60], "ends before its end"),
        (b"", "ends before its end"),
        (b"hello", "this is no artifact"),
        (b"x" * 100, "this is no artifact"),
        (SENT, "does not tell of a checkpoint"),
        (MAGIC + written(Head("0" * 16, "g", "d", 0, 0).part(), SAVED, OPENING[1], ENDING), "checkpoint is not its artifact's"),
        (MAGIC + written(OPENING[0], document(OBJECT, b"[]"), OPENING[1], ENDING), "checkpoint is not understood"),
        (MAGIC + written(OPENING[0], document(OBJECT, b"{}"), OPENING[1], ENDING), "identity"),
        (MAGIC + artifact_file.PART.pack(b"WHAT", 1, 1), "what should be a part"),
    ],
)
def test_a_file_that_is_none_is_refused(content, message):
    with pytest.raises(ChrekError, match=message):
        importing.read_file(io.BytesIO(content))


async def test_without_the_right_to_run_a_command_in_an_agent(connect, tmp_path):
    cluster = connect()
    cluster.error = ClusterError("Error from server (403): Invalid response status", status=403)
    with pytest.raises(ClusterError, match="pods/exec in namespace chrek is forbidden") as caught:
        await export(cluster, tmp_path / "f")
    assert "role chrek-exporter" in caught.value.hint
    cluster.error = ClusterError("away", status=500)
    with pytest.raises(ClusterError, match="away"):
        await export(cluster, tmp_path / "f")


async def test_who_may_only_look_at_his_own_namespace_finds_agents_there():
    class Narrow(Cluster):
        async def list(self, resource, namespace=None, *, labels="", fields=""):
            if namespace == "":
                raise ClusterError("forbidden", status=403)
            return self.pods

    assert (await agents.find_agent(Narrow())).pod == "agent-a"
