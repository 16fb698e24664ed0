"""The command line, as a process, against an API server."""

import asyncio
import json
import os
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from kubectl_chrek.api.checkpoint import read_checkpoint
from kubectl_chrek.api.errors import ConflictError, NotFoundError, UsageError
from kubectl_chrek.cluster.resources import CHECKPOINTS, CHREK_NODES, EVENTS, GRAPHS
from kubectl_chrek.ops.gc import mark_candidate
from kubectl_chrek.ops.retention import Candidate

pytestmark = pytest.mark.cluster

QWEN = "73e74442beb109ed"
NAME = f"dynamocheckpoint.nvidia.com/{QWEN}"
FLAGS = ("--model", "Qwen/Qwen3-0.6B", "--framework", "vllm")
WORKER = ("--image", "registry.invalid/vllm", "--", "python3", "-m", "dynamo.vllm")
SERVICE = {
    "extraPodSpec": {"mainContainer": {"image": "registry.invalid/vllm", "args": ["python3 -m dynamo.vllm"]}},
    "checkpoint": {"enabled": True, "mode": "auto", "identity": {"model": "Qwen/Qwen3-0.6B", "backendFramework": "vllm"}},
}
SECONDS = 60


class Running:
    """A command line under way."""

    def __init__(self, process):
        self.process = process

    async def line(self):
        async with asyncio.timeout(SECONDS):
            return (await self.process.stdout.readline()).decode().rstrip("\n")

    async def error_line(self):
        async with asyncio.timeout(SECONDS):
            return (await self.process.stderr.readline()).decode().rstrip("\n")

    async def end_of_output(self):
        async with asyncio.timeout(SECONDS):
            return (await self.process.communicate())[0].decode()

    async def end(self):
        async with asyncio.timeout(SECONDS):
            out, err = await self.process.communicate()
        return self.process.returncode, out.decode(), err.decode()


@pytest.fixture
async def start(cluster_config, namespace):
    """Starts the command line in the test's namespace."""
    started = []

    async def run(*words, stdin=None):
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "kubectl_chrek", "-n", namespace, *words),
            stdin=pipe if stdin is not None else asyncio.subprocess.DEVNULL,
            stdout=pipe,
            stderr=pipe,
            env=os.environ | {"KUBECONFIG": str(cluster_config)},
        )
        started.append(process)
        if stdin is not None:
            process.stdin.write(stdin.encode())
            process.stdin.close()
        return Running(process)

    yield run
    for process in started:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.fixture
def chrek(start):
    """Runs the command line to its end: code, stdout, stderr."""

    async def run(*words, stdin=None):
        return await (await start(*words, stdin=stdin)).end()

    return run


@pytest.fixture
async def make(cluster):
    """Makes a checkpoint with a status."""

    async def create(name, *, model="m", metadata=None, **status):
        spec = {"identity": {"model": model, "backendFramework": "vllm"}, "job": {"podTemplateSpec": {"spec": {}}}}
        body = {"apiVersion": "nvidia.com/v1alpha1", "kind": "DynamoCheckpoint", "metadata": {"name": name} | (metadata or {})}
        created = await cluster.create(CHECKPOINTS, body | {"spec": spec})
        if status:
            await cluster.patch(CHECKPOINTS, name, {"status": status}, subresource="status")
        return created

    return create


async def test_prewarm_then_ls_then_describe(chrek, cluster):
    assert await chrek("prewarm", *FLAGS, *WORKER) == (0, f"{NAME} created\n", "")
    assert await chrek("prewarm", *FLAGS, *WORKER) == (0, f"{NAME} unchanged\n", "")
    await cluster.patch(CHECKPOINTS, QWEN, {"status": {"phase": "Creating", "identityHash": QWEN}}, subresource="status")
    code, out, err = await chrek("ls")
    assert (code, err) == (0, "")
    header, row = out.splitlines()
    assert header.split() == ["NAME", "MODEL", "BACKEND", "PHASE", "HASH", "AGE"]
    assert row.split()[:5] == [QWEN, "Qwen/Qwen3-0.6B", "vllm", "Creating", QWEN]
    body = await cluster.get(CHECKPOINTS, QWEN)
    assert json.loads((await chrek("ls", QWEN, "-o=json"))[1]) == body
    assert yaml.safe_load((await chrek("get", "-o", "yaml"))[1])["items"] == [body]
    assert (await chrek("ls", QWEN, "-o", "jsonpath={.status.phase}"))[1] == "Creating"
    assert (await chrek("ls", "-l", f"nvidia.com/checkpoint-hash={QWEN}", "-o", "name"))[1] == f"{NAME}\n"
    assert (await chrek("ls", "-l", "nvidia.com/checkpoint-hash=other"))[:2] == (0, "")
    event = {
        "metadata": {"name": f"{QWEN}.1", "namespace": cluster.namespace},
        "involvedObject": {
            "apiVersion": "nvidia.com/v1alpha1",
            "kind": "DynamoCheckpoint",
            "name": QWEN,
            "namespace": cluster.namespace,
            "uid": body["metadata"]["uid"],
        },
        "type": "Normal",
        "reason": "CaptureStarted",
        "message": "on node-a",
        "lastTimestamp": body["metadata"]["creationTimestamp"],
        "source": {"component": "chrek-agent"},
    }
    await cluster.create(EVENTS, event)
    code, out, err = await chrek("describe", QWEN)
    assert (code, err) == (0, "")
    assert out.startswith(f"Name:         {QWEN}\nNamespace:    {cluster.namespace}\nHash:         {QWEN}\n")
    last = out.splitlines()[-1].split()
    assert (last[:2], last[3:]) == (["Normal", "CaptureStarted"], ["chrek-agent", "on", "node-a"])


async def test_missing_names(chrek):
    missing = 'Error from server (NotFound): dynamocheckpoints.nvidia.com "nope" not found\n'
    assert await chrek("ls", "nope") == (4, "", missing)
    assert await chrek("describe", "nope") == (4, "", missing)


async def test_dry_run_by_the_server_sends_and_keeps_nothing(chrek, cluster):
    assert (await chrek("prewarm", *FLAGS, "--dry-run=server", *WORKER))[:2] == (0, f"{NAME} created (server dry run)\n")
    with pytest.raises(NotFoundError):
        await cluster.get(CHECKPOINTS, QWEN)


async def test_what_the_server_calls_invalid_is_the_users_error(make):
    with pytest.raises(UsageError, match="Invalid"):
        await make("bad", model="")


async def test_graphs_from_a_file_and_from_the_cluster(chrek, cluster):
    graph = {"apiVersion": "nvidia.com/v1alpha1", "kind": "DynamoGraphDeployment", "metadata": {"name": "llm"}}
    graph["spec"] = {"services": {"Worker": SERVICE}}
    assert (await chrek("prewarm", "-f", "-", stdin=yaml.safe_dump(graph))) == (0, f"{NAME} created\n", "")
    created = await cluster.get(CHECKPOINTS, QWEN)
    template = created["spec"]["job"]["podTemplateSpec"]["spec"]
    assert template["containers"][0]["command"] == ["/bin/sh", "-c"]
    await cluster.create(GRAPHS, graph)
    assert (await chrek("prewarm", "--graph", "llm", "--service", "Worker"))[:2] == (0, f"{NAME} unchanged\n")
    code, out, err = await chrek("gc", "--all", "--yes", "-v=1")
    assert (code, out) == (0, "")
    assert f"{NAME} is kept: " in err


async def test_prewarm_waits_until_it_is_ready(start, cluster, make):
    await make("by-hand", model="Qwen/Qwen3-0.6B")
    running = await start("prewarm", *FLAGS, "--wait", *WORKER)
    assert await running.line() == "dynamocheckpoint.nvidia.com/by-hand unchanged"
    assert await running.error_line() == "by-hand: Pending"
    progress = {"step": "dump", "bytesDone": 1, "bytesTotal": 2}
    for status in ({"phase": "Creating"}, {"progress": progress}, {"phase": "Ready"}):
        await cluster.patch(CHECKPOINTS, "by-hand", {"status": status}, subresource="status")
    code, out, err = await running.end()
    assert (code, out) == (0, "")
    assert err.splitlines()[-1] == "by-hand: Ready"


async def test_prewarm_tells_a_failure_and_a_deadline(chrek, cluster, make):
    await make("by-hand", model="Qwen/Qwen3-0.6B", phase="Creating")
    code, _, err = await chrek("prewarm", *FLAGS, "--wait", "--timeout=200ms", *WORKER)
    assert (code, "error: not ready after 0.20s: by-hand is Creating" in err) == (5, True)
    await cluster.patch(CHECKPOINTS, "by-hand", {"status": {"phase": "Failed", "message": "no GPU"}}, subresource="status")
    code, _, err = await chrek("prewarm", *FLAGS, "--wait", *WORKER)
    assert (code, "error: checkpoint by-hand failed: no GPU" in err) == (5, True)


async def test_gc_waits_for_the_finalizer(start, chrek, cluster, make):
    await make("old", phase="Ready", metadata={"finalizers": ["nvidia.com/chrek-artifact"]})
    await make("new", phase="Creating")
    code, out, _ = await chrek("gc", "--all", "--dry-run=server")
    assert (code, out.splitlines()[2:]) == (0, ["dynamocheckpoint.nvidia.com/old deletes in 60m (server dry run)"])
    code, _, err = await chrek("gc", "old", "--yes", "--now", "--timeout=200ms")
    assert (code, "error: still there after 0.20s: old" in err) == (5, True)
    assert (await chrek("gc", "old", "--yes", "--now"))[0] == 6
    await cluster.patch(CHECKPOINTS, "old", {"metadata": {"finalizers": None}})
    assert (await chrek("gc", "old", "--yes"))[0] == 4
    await make("old", phase="Failed", metadata={"finalizers": ["nvidia.com/chrek-artifact"]})
    running = await start("gc", "--failed", "--yes", "--now", "--wait=true")
    assert (await running.line()).startswith("NAME")
    assert (await running.line()).split()[:2] == ["old", "Failed"]
    assert await running.line() == "dynamocheckpoint.nvidia.com/old deleted"
    await cluster.patch(CHECKPOINTS, "old", {"metadata": {"finalizers": None}})
    code, out, err = await running.end()
    assert (code, out, err.splitlines()[1:]) == (0, "", [])
    assert [body["metadata"]["name"] for body in await cluster.list(CHECKPOINTS)] == ["new"]


async def test_gc_marks_what_undelete_keeps(chrek, cluster, make):
    await make("old", phase="Failed")
    code, out, _ = await chrek("gc", "--failed", "--yes", "--grace=10m")
    assert (code, out.splitlines()[-1]) == (0, "dynamocheckpoint.nvidia.com/old deletes in 10m")
    assert "nvidia.com/chrek-delete-after" in (await cluster.get(CHECKPOINTS, "old"))["metadata"]["annotations"]
    assert (await chrek("gc", "--failed", "--yes", "-v"))[2].startswith("dynamocheckpoint.nvidia.com/old is kept: deletes in ")
    assert (await chrek("undelete", "old"))[:2] == (0, "dynamocheckpoint.nvidia.com/old undeleted\n")
    assert "annotations" not in (await cluster.get(CHECKPOINTS, "old"))["metadata"]
    candidate = Candidate(read_checkpoint(await cluster.get(CHECKPOINTS, "old")), "", 0)
    await cluster.delete(CHECKPOINTS, "old")
    await make("old", phase="Failed")
    with pytest.raises(ConflictError, match="another object has its name"):
        await mark_candidate(cluster, candidate, datetime.now(UTC))


async def test_pin_then_gc(chrek, make):
    await make("old", phase="Failed")
    assert (await chrek("pin", "old", "--by", "alice", "--note", "demo"))[:2] == (0, "dynamocheckpoint.nvidia.com/old pinned\n")
    code, out, err = await chrek("gc", "--failed", "--yes", "-v")
    assert (code, out, err.splitlines()[0]) == (0, "", "dynamocheckpoint.nvidia.com/old is kept: pinned")
    assert (await chrek("unpin", "old"))[:2] == (0, "dynamocheckpoint.nvidia.com/old unpinned\n")


async def test_doctor_compat_df_and_version(chrek, cluster, make):
    record = {"kernel": "6.12.0", "gpus": []}
    await make("x", phase="Ready", artifact={"generation": "g", "bytes": 1 << 30, "compatibility": record})
    _, out, _ = await chrek("doctor", "-o", "json")
    findings = {each["name"]: each["verdict"] for each in json.loads(out)["findings"]}
    assert (findings["server"], findings["crds"], findings["access"]) == ("ok", "ok", "ok")
    node = {"apiVersion": "nvidia.com/v1alpha1", "kind": "ChrekNode", "metadata": {"name": f"n-{cluster.namespace}"}}
    await cluster.create(CHREK_NODES, node, "")
    heard = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    status = {"agent": {"version": "9.9", "heartbeatAt": heard}, "platform": {"kernel": "6.1.0"}}
    await cluster.patch(CHREK_NODES, node["metadata"]["name"], {"status": status}, "", subresource="status")
    try:
        answers = json.loads((await chrek("compat", "x", "-o", "json"))[1])["checkpoints"][0]["nodes"]
        assert [each["verdict"] for each in answers if each["node"] == node["metadata"]["name"]] == ["fail"]
        _, out, err = await chrek("version", "--server")
        assert f"Agent Version: v9.9 on {node['metadata']['name']}" in out
        assert "warning: the agents on " in err
    finally:
        await cluster.delete(CHREK_NODES, node["metadata"]["name"], "")
    assert (await chrek("df"))[1].splitlines()[1].split()[1:4] == ["m", "1", "0"]


async def test_an_artifact_is_staged_on_a_node_and_told_by_it(start, chrek, cluster, make):
    node = f"n-{cluster.namespace}"
    await cluster.create(CHREK_NODES, {"apiVersion": "nvidia.com/v1alpha1", "kind": "ChrekNode", "metadata": {"name": node}}, "")
    operation = {"kind": "stage", "namespace": cluster.namespace, "checkpoint": "x", "bytesDone": 1 << 20, "bytesTotal": 4 << 20}
    ceilings = {"copyBytesPerSecond": 20_000_000_000, "hashBytesPerSecond": 8_000_000_000, "storeReadBytesPerSecond": None}
    status = {"agent": {"heartbeatAt": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"}, "cache": {"quotaBytes": 1 << 30}}
    status |= {"operations": [operation], "ceilings": ceilings}
    try:
        await cluster.patch(CHREK_NODES, node, {"status": status}, "", subresource="status")
        artifact = {
            "generation": "g",
            "bytes": 4 << 20,
            "node": node,
            "phases": {"memory": 1.0},
            "phaseBytes": {"memory": 4_000_000_000},
        }
        await make("x", phase="Ready", artifact=artifact)
        running = await start("prewarm", "--checkpoint", "x", "--nodes", node, "--wait")
        async for event in cluster.watch(CHECKPOINTS):
            if event.object and event.object["metadata"].get("annotations", {}).get("nvidia.com/chrek-stage") == node:
                break
        copy = {"node": node, "bytes": 4 << 20, "total": 4 << 20, "generation": "g", "message": "", "at": "2026-01-01T00:00:00Z"}
        await cluster.patch(CHECKPOINTS, "x", {"status": {"caches": [copy]}}, subresource="status")
        code, out, _ = await running.end()
        assert (code, out.splitlines()[-1]) == (0, f"dynamocheckpoint.nvidia.com/x staged on {node} (4Mi)")
        assert (await cluster.get(CHECKPOINTS, "x"))["status"]["caches"] == [copy]
        assert "4.00 GB/s, 50% of the node's hashing (8.00 GB/s)" in (await chrek("describe", "x"))[1]
    finally:
        await cluster.delete(CHREK_NODES, node, "")


async def test_verify_in_the_cluster(start, cluster, make):
    await make("x", phase="Ready", artifact={"generation": "g", "bytes": 4})
    running = await start("verify", "x")
    async for event in cluster.watch(CHECKPOINTS):
        nonce = event.object and event.object["metadata"].get("annotations", {}).get("nvidia.com/chrek-verify")
        if nonce:
            break
    answer = {"nonce": nonce, "result": "ok", "bytes": 4, "seconds": 0.5}
    await cluster.patch(CHECKPOINTS, "x", {"status": {"verification": answer}}, subresource="status")
    assert (await running.end())[:2] == (0, "dynamocheckpoint.nvidia.com/x verified: 4 in 0.50s, 0.00 GB/s\n")


async def test_ls_watches_until_it_is_interrupted(start, cluster, make):
    await make("first")
    running = await start("ls", "-w", "-o", "name")
    assert await running.line() == "dynamocheckpoint.nvidia.com/first"
    await make("second")
    assert await running.line() == "dynamocheckpoint.nvidia.com/second"
    await cluster.delete(CHECKPOINTS, "first")
    assert await running.line() == "dynamocheckpoint.nvidia.com/first"
    running.process.send_signal(signal.SIGINT)
    assert await running.end() == (130, "", "")


async def test_kubectl_finds_the_plugin(kubectl_command):
    (kubectl, *_), environment = kubectl_command
    folder = Path(sys.executable).parent
    assert (folder / "kubectl-chrek").exists()
    process = await asyncio.create_subprocess_exec(
        *(kubectl, "chrek", "hash", *FLAGS),
        stdout=asyncio.subprocess.PIPE,
        env=environment | {"PATH": f"{folder}:{environment['PATH']}"},
    )
    assert await Running(process).end_of_output() == f"{QWEN}  Qwen/Qwen3-0.6B\n"


@pytest.fixture
def plugin(kubectl_command):
    """The real kubectl, which finds the plugin and its completion in PATH."""
    (kubectl, *_), environment = kubectl_command
    folder = Path(sys.executable).parent
    path = f"{folder}:{environment['PATH']}"

    async def run(*words, first=""):
        pipe = asyncio.subprocess.PIPE
        given = environment | {"PATH": f"{first}:{path}"}
        process = await asyncio.create_subprocess_exec(kubectl, *words, stdout=pipe, stderr=pipe, env=given)
        return await Running(process).end()

    return run


async def test_kubectl_passes_flags_on(plugin, make, namespace, cluster_config):
    await make("one")
    context = yaml.safe_load(cluster_config.read_text())["current-context"]
    name = "dynamocheckpoint.nvidia.com/one\n"
    assert (await plugin("chrek", "ls", "--context", context, "-n", namespace, "-o", "name"))[:2] == (0, name)
    assert (await plugin("chrek", "-n", namespace, "ls", "-o=name"))[:2] == (0, name)
    code, out, _ = await plugin("chrek", "ls", "-A", "--no-headers")
    assert (code, [namespace, "one"] in [line.split()[:2] for line in out.splitlines()]) == (0, True)
    assert (await plugin("chrek", "ls", "nope", "-n", namespace))[0] == 4


async def test_kubectl_completes_names(plugin, chrek, make, namespace, tmp_path):
    await make("one-checkpoint")
    assert (await chrek("completion", "install", "--dir", str(tmp_path)))[0] == 0
    code, out, _ = await plugin("__complete", "chrek", "describe", "-n", namespace, "on", first=tmp_path)
    assert (code, out.splitlines()) == (0, ["one-checkpoint\tm", ":4"])
    code, out, _ = await plugin("__complete", "chrek", "und", first=tmp_path)
    assert out.splitlines()[0].startswith("undelete\t")


async def test_version_of_the_server(chrek):
    code, out, _ = await chrek("version", "--server", "-o", "json")
    assert (code, json.loads(out)["serverVersion"]["gitVersion"][0]) == (0, "v")


async def test_what_cannot_be_reached_is_one_line(chrek, cluster_config, tmp_path):
    code, out, err = await chrek("ls", "--context", "nowhere")
    assert (code, out) == (1, "")
    assert err.startswith("error: no usable cluster configuration: ")
    code, out, err = await chrek("ls", "--kubeconfig", str(tmp_path / "none"))
    assert (code, err.splitlines()[0]) == (1, f"error: no usable cluster configuration: {tmp_path}/none is not there, or is empty")
    config = yaml.safe_load(cluster_config.read_text())
    for entry in config["clusters"]:
        entry["cluster"]["server"] = "https://127.0.0.1:9"
    broken = tmp_path / "broken"
    broken.write_text(yaml.safe_dump(config))
    code, out, err = await chrek("ls", "--kubeconfig", str(broken), "--request-timeout=5s")
    assert (code, out) == (1, "")
    assert err.startswith("Unable to connect to the server https://127.0.0.1:9: ")
