"""`kubectl exec` and `kubectl logs`, by the hooks of the embedded API server."""

import asyncio
import os
import shutil

import pytest

from kubectl_chrek.cluster import Cluster
from kubectl_chrek.cluster.resources import PODS
from kubectl_chrek.local.apiserver import ApiServer

pytestmark = pytest.mark.cluster


async def start(_namespace, _pod, _container, command):
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe)


async def lines(_namespace, _pod, _container, *, follow, **_how):
    yield b"one\n"
    if follow:
        yield b"two\n"


@pytest.fixture
async def run(tmp_path):
    """Runs kubectl against a server whose pod `p` runs commands right here."""
    program = os.environ.get("CHREK_TEST_KUBECTL") or shutil.which("kubectl")
    if not program:
        pytest.skip("there is no kubectl in PATH: run scripts/install-kubectl")
    async with ApiServer.start(tmp_path) as server:
        server.exec, server.logs = start, lines
        async with Cluster.connect(kubeconfig=str(server.kubeconfig)) as cluster:
            spec = {"nodeName": "n", "containers": [{"name": "main", "image": "x"}]}
            await cluster.create(PODS, {"metadata": {"name": "p"}, "spec": spec})
            await cluster.patch(PODS, "p", {"status": {"phase": "Running"}}, subresource="status")
        environment = os.environ | {"KUBECONFIG": str(server.kubeconfig), "KUBECACHEDIR": str(tmp_path / "cache")}

        async def kubectl(*arguments, stdin=""):
            pipe = asyncio.subprocess.PIPE
            process = await asyncio.create_subprocess_exec(
                program, *arguments, stdin=pipe, stdout=pipe, stderr=pipe, env=environment
            )
            async with asyncio.timeout(60):
                output, errors = await process.communicate(stdin.encode())
            return process.returncode, output.decode(), errors.decode()

        yield kubectl


async def test_output_of_a_command(run):
    assert await run("exec", "p", "--", "sh", "-c", "echo out; echo err >&2") == (0, "out\n", "err\n")


async def test_input_reaches_the_command(run):
    assert await run("exec", "-i", "p", "--", "cat", stdin="hello") == (0, "hello", "")


async def test_without_input_the_command_reads_an_end(run):
    assert await run("exec", "p", "--", "cat") == (0, "", "")


async def test_the_exit_status_comes_back(run):
    code, _, errors = await run("exec", "p", "--", "sh", "-c", "exit 7")
    assert (code, errors) == (7, "command terminated with exit code 7\n")


async def test_logs_are_followed(run):
    assert await run("logs", "p") == (0, "one\n", "")
    assert await run("logs", "-f", "p") == (0, "one\ntwo\n", "")
