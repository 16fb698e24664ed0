"""Paths of the host that containers see, and the real kubectl against a node."""

import asyncio
import os
import shutil
from dataclasses import replace

import pytest

pytestmark = pytest.mark.criu


@pytest.fixture
def node_config(node_config, tmp_path):
    shown = tmp_path / "shown"
    shown.mkdir()
    (shown / "file").write_text("seen")
    return replace(node_config, host_mounts=(shown,))


async def test_paths_of_the_host_are_shown_read_only(machine):
    (shown,) = machine.config.host_mounts
    await machine.run("shown", ["sh", "-c", f"cat {shown}/file; touch {shown}/x 2>&1 | grep -o Read-only"])
    await machine.phase("shown", "Succeeded", "Failed")
    assert (await machine.cluster.logs("shown")).split() == ["seenRead-only"]


async def test_kubectl_runs_commands_and_reads_logs(machine):
    program = os.environ.get("CHREK_TEST_KUBECTL") or shutil.which("kubectl")
    if not program:
        pytest.skip("there is no kubectl in PATH: run scripts/install-kubectl")
    await machine.run("shell", ["sh", "-c", "echo hello; exec sleep 1000"])
    await machine.phase("shell", "Running")

    async def kubectl(*words):
        argv = (program, "--kubeconfig", str(machine.server.kubeconfig), *words)
        process = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE)
        out, _ = await process.communicate()
        return process.returncode, out.decode()

    assert await kubectl("exec", "shell", "--", "hostname") == (0, "shell\n")
    assert await kubectl("logs", "shell") == (0, "hello\n")
