"""`chrek-agent` as a plain command: a container is captured, looked at and restored, and no cluster is asked."""

import asyncio
import json
import os
import sys

import yaml

from kubectl_chrek.cluster.resources import PODS
from kubectl_chrek.local import remotes
from kubectl_chrek.local.cluster import CRIU_ROOT


async def command(*words, code=0):
    """Runs it; returns its JSON or, when it is to fail, its last line of log."""
    environment = os.environ | {"CHREK_CRIU_ROOT": os.environ.get("CHREK_CRIU_ROOT", str(CRIU_ROOT))}
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "chrek_agent", *map(str, words), stdout=pipe, stderr=pipe, env=environment
    )
    output, log = await process.communicate()
    assert process.returncode == code, log.decode()
    return json.loads(output) if code == 0 else log.decode().splitlines()[-1]


def container_id(pod):
    return pod["status"]["containerStatuses"][0]["containerID"].rpartition("//")[2]


async def twin(lab, like, name, **environment):
    """A pod like this one, started anew, that the daemon has nothing to do with; one with an environment becomes Ready."""
    spec = {key: value for key, value in like["spec"].items() if key != "nodeName"}
    worker = {key: value for key, value in spec["containers"][0].items() if key != "readinessProbe" or environment}
    worker["env"] = [*worker.get("env", []), *({"name": key, "value": value} for key, value in environment.items())]
    spec["containers"] = [worker]
    await lab.cluster.create(PODS, {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})

    def up(pod):
        status = (pod.get("status", {}).get("containerStatuses") or [{}])[0]
        running = status.get("ready") if environment else "running" in status.get("state", {})
        return pod["metadata"]["name"] == name and running

    return await lab.until(PODS, up)


async def test_a_container_is_captured_and_restored_without_a_cluster(lab, tmp_path, monkeypatch):
    await lab.graph("none-such")
    cold = await lab.ready_pod("none-such")
    source = await twin(lab, cold, "source", DYN_CHECKPOINT_SIGNAL_FILE="/checkpoint-signal/standalone.done")
    before = lab.ask(source)
    where = ("--store", tmp_path / "store", "--state", tmp_path / "state", "-o", "json")
    refused = await command("capture", container_id(cold), "--identity", tmp_path / "none", *where, code=1)
    assert "is its PID 1 alone" in refused
    identity = tmp_path / "identity.yaml"
    identity.write_text(yaml.safe_dump({"model": "probe/standalone", "backendFramework": "vllm"}))

    captured = await command("capture", container_id(source), "--identity", identity, *where)
    assert lab.ask(source)["token"] == before["token"]  # It runs on.
    identity_hash = captured["artifact"].partition("/")[0]

    shown = await command("inspect", identity_hash, *where)
    assert shown["processes"][0]["name"].startswith("python")
    assert shown["processes"][0]["pid"] == before["pid"]
    assert any("8000" in socket and "listening" in socket for socket in shown["sockets"])
    held = shown["inventory"]["processes"][0]
    assert (held["pid"], held["parent"]) == (before["pid"], 1)
    assert held["command"][-1].endswith("probe_worker.py")
    assert {"kind": "tcp", "state": "listening"}.items() <= next(file for file in held["files"] if "8000" in file["target"]).items()
    assert "DYN_CHECKPOINT_SIGNAL_FILE" in held["variables"]
    assert "DYN_CHECKPOINT_SIGNAL_FILE" not in held["values"]
    assert held["resident"]["anonymous"] > 0
    assert shown["compatibility"]["argv"][-1].endswith("probe_worker.py")
    assert (await command("verify", captured["artifact"], *where))["result"] == "ok"

    target = await twin(lab, cold, "target")
    restored = await command("restore", tmp_path / "store" / captured["artifact"], container_id(target), *where)
    assert restored["pid"] == before["pid"]
    assert lab.ask(target)["token"] == before["token"]
    assert lab.ask(source)["token"] == before["token"]

    # The same from a bucket, to which it is copied, and captured anew.
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "")
    with remotes.place("s3", tmp_path / "seaweedfs") as bucket:
        own = ("--state", tmp_path / "state", "-o", "json")
        assert (await command("copy", captured["artifact"], bucket, *where))["chunks"] > 0
        there = f"{bucket.partition('?')[0]}/{captured['artifact']}?{bucket.partition('?')[2]}"
        assert (await command("inspect", there, *own))["processes"] == shown["processes"]
        assert (await command("verify", identity_hash, "--store", bucket, *own))["result"] == "ok"
        again = await twin(lab, cold, "again")
        assert (await command("restore", there, container_id(again), *own))["pid"] == before["pid"]
        assert lab.ask(again)["token"] == before["token"]
        second = await command("capture", container_id(source), "--identity", identity, "--store", bucket, *own)
        assert second["store"] == bucket

    pack = next((tmp_path / "store" / "packs").glob("*.pack"))
    content = bytearray(pack.read_bytes())
    content[len(content) // 2 // 4096 * 4096] ^= 1
    pack.write_bytes(content)
    assert "has changed" in await command("verify", captured["artifact"], *where, code=1)


async def test_what_cannot_be_done_is_said_in_one_line(lab, tmp_path):
    where = ("--store", tmp_path / "store", "--state", tmp_path / "state")
    assert "there is no artifact nope" in await command("verify", "nope", *where, code=1)
    assert f"process {os.getpid()} is in no PID namespace of its own" in await command(
        "capture", os.getpid(), "--identity", tmp_path / "none", *where, code=1
    )
