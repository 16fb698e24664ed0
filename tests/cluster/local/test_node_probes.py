"""Probes, exec, logs that are followed, and what is reachable from the host."""

import asyncio
import contextlib

import aiohttp
import pytest

from kubectl_chrek.api.errors import UsageError
from kubectl_chrek.cluster.resources import EVENTS, PODS
from kubectl_chrek.local.apiserver import ApiError
from kubectl_chrek.local.node import runtime

pytestmark = pytest.mark.criu

SERVER = ["python3", "-m", "http.server", "8000", "--directory", "/etc"]


def ready(pod):
    return any(one["type"] == "Ready" and one["status"] == "True" for one in pod.get("status", {}).get("conditions", ()))


def only(pod):
    (status,) = pod["status"]["containerStatuses"]
    return status


@pytest.mark.parametrize(
    "probe",
    [
        {"httpGet": {"port": "web", "path": "/hostname"}},
        {"tcpSocket": {"port": 8000}},
        {"exec": {"command": ["test", "-e", "/proc/1"]}},
    ],
    ids=["http", "tcp", "exec"],
)
async def test_a_pod_is_ready_when_its_probe_succeeds(machine, probe):
    container = {"readinessProbe": probe | {"periodSeconds": 1}, "ports": [{"name": "web", "containerPort": 8000}]}
    await machine.run("web", SERVER, policy="Always", container=container)
    pod = await machine.until("web", ready)
    assert only(pod)["ready"] is True


async def test_the_pods_address_answers_the_host(machine):
    await machine.run("web", SERVER, container={"readinessProbe": {"tcpSocket": {"port": 8000}, "periodSeconds": 1}})
    pod = await machine.until("web", ready)
    async with aiohttp.ClientSession() as session, session.get(f"http://{pod['status']['podIP']}:8000/hostname") as response:
        assert (await response.text()).strip() == "web"


async def test_readiness_comes_and_goes_with_the_probe(machine):
    probe = {"exec": {"command": ["test", "-e", "/tmp/ready"]}, "periodSeconds": 1, "failureThreshold": 1}
    await machine.run("flag", ["sleep", "1000"], container={"readinessProbe": probe})
    pod = await machine.until("flag", lambda pod: pod.get("status", {}).get("phase") == "Running")
    assert not ready(pod)
    await machine.exec(pod, "touch", "/tmp/ready")
    await machine.until("flag", ready)
    await machine.exec(pod, "rm", "/tmp/ready")
    await machine.until("flag", lambda pod: not ready(pod))


async def test_a_failing_liveness_probe_restarts_the_container(machine):
    probe = {"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 1}
    await machine.run("ill", ["sleep", "1000"], policy="Always", container={"livenessProbe": probe})
    pod = await machine.until("ill", lambda pod: "containerStatuses" in pod.get("status", {}) and only(pod)["restartCount"] > 0)
    assert only(pod)["lastState"]["terminated"]["exitCode"] == 137
    reasons = {event["reason"] for event in await machine.cluster.list(EVENTS)}
    assert {"Unhealthy", "Killing"} <= reasons


async def test_readiness_waits_for_the_startup_probe(machine):
    startup = {"exec": {"command": ["test", "-e", "/tmp/up"]}, "periodSeconds": 1, "failureThreshold": 100}
    await machine.run("slow", ["sleep", "1000"], container={"startupProbe": startup})
    pod = await machine.until("slow", lambda pod: pod.get("status", {}).get("phase") == "Running")
    assert (only(pod)["started"], only(pod)["ready"]) == (False, False)
    await machine.exec(pod, "touch", "/tmp/up")
    pod = await machine.until("slow", ready)
    assert only(pod)["started"] is True


async def test_exec_returns_output_and_exit_code_and_refuses_what_does_not_run(machine):
    await machine.run("sleeper", ["sleep", "1000"])
    pod = await machine.until("sleeper", ready)
    assert await machine.exec(pod, "sh", "-c", "echo out; echo err >&2; exit 5") == (5, "out\n", "err\n")
    assert (await machine.exec(pod, "/no/such/program"))[0] != 0
    await machine.cluster.delete(PODS, "sleeper")
    await machine.until("sleeper", lambda found: "terminated" in only(found)["state"])
    with pytest.raises(ApiError, match=r"is not (running|on node)"):
        await machine.exec(pod, "true")


@pytest.mark.parametrize("noted", [True, False])
async def test_a_killed_command_ends_in_the_container_too(machine, monkeypatch, noted):
    """Also one that was killed before runc had noted its number."""
    if not noted:
        monkeypatch.setattr(runtime, "_take", lambda pid_file: pid_file.unlink(missing_ok=True) or "")
    await machine.run("sleeper", ["sleep", "1000"])
    pod = await machine.until("sleeper", ready)
    script = "import time; print('up', flush=True); time.sleep(1000)"
    process = await machine.node.exec("default", pod, "main", ["python3", "-c", script])
    assert await process.stdout.readline() == b"up\n"
    process.kill()
    await process.wait()
    async with asyncio.timeout(30):
        while "python" in (await machine.exec(pod, "sh", "-c", "for p in /proc/[0-9]*; do readlink $p/exe; done"))[1]:
            continue


async def test_a_followed_log_ends_with_the_container(machine):
    await machine.run("talker", ["sh", "-c", "echo first; until test -e /tmp/go; do sleep 0.05; done; echo last"])
    pod = await machine.until("talker", ready)
    pieces = machine.node.logs("default", pod, "main", follow=True, timestamps=False)
    assert await anext(pieces) == b"first\n"
    await machine.exec(pod, "touch", "/tmp/go")
    async with asyncio.timeout(30):
        assert [piece async for piece in pieces] == [b"last\n"]


async def test_the_log_of_a_pod_that_waits_is_refused(machine):
    await machine.run("foreign", ["true"], container={"image": "busybox"})
    await machine.until("foreign", lambda pod: "ErrImagePull" in str(pod.get("status")))
    with pytest.raises(UsageError, match="is waiting to start"):
        await machine.cluster.logs("foreign")


async def test_containers_of_a_pod_share_its_network(machine):
    other = {"name": "other", "image": "localhost/host", "command": SERVER}
    main = {"name": "main", "image": "localhost/host", "command": ["sleep", "1000"]}
    probe = {"exec": {"command": ["python3", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/hostname')"]}}
    main["readinessProbe"] = probe | {"periodSeconds": 1, "timeoutSeconds": 5}
    await machine.run("pair", [], containers=[main, other])
    pod = await machine.until("pair", ready)
    assert len(pod["status"]["containerStatuses"]) == 2
    await machine.cluster.delete(PODS, "pair", grace_seconds=0)


async def test_a_refused_connection_reads_as_a_kubelets(machine):
    probe = {"httpGet": {"path": "/up", "port": 9}, "periodSeconds": 1}
    await machine.run("deaf", ["sleep", "1000"], container={"readinessProbe": probe})
    async with contextlib.aclosing(machine.cluster.watch(EVENTS)) as events:
        async for event in events:
            message = event.object.get("message", "")
            if event.object.get("reason") == "Unhealthy":
                break
    assert message.startswith('Readiness probe failed: Get "http://')
    assert message.endswith(':9/up": dial tcp ' + message.split("/")[2] + ": connect: connection refused")
