"""The TUI in a real terminal, while a real worker is captured and brought back."""

import asyncio
import os
import shutil
import signal
import sys
import uuid
from contextlib import asynccontextmanager, suppress

import pytest

from kubectl_chrek.cluster.resources import CHECKPOINTS

pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux: run scripts/install-programs")
PROGRAM = [sys.executable, "-m", "kubectl_chrek"]
GLANCE_SECONDS = 0.2
"""A terminal does not tell when it has drawn: one looks again."""


class Terminal:
    """A pane of a tmux server of its own."""

    def __init__(self, server):
        self._server = server

    async def tmux(self, *arguments):
        pipe = asyncio.subprocess.PIPE
        command = ["tmux", "-L", self._server, "-f", "/dev/null", *arguments]
        process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe)
        output, errors = await process.communicate()
        return output.decode() if process.returncode == 0 else f"(tmux: {errors.decode()})"

    async def press(self, *keys):
        await self.tmux("send-keys", *keys)

    async def type(self, text):
        await self.tmux("send-keys", "-l", text)
        await self.press("Enter")

    async def page(self):
        return await self.tmux("capture-pane", "-p")

    async def shows(self, *texts):
        """The page, once it shows all of these; what it shows instead is in the error."""
        page = ""
        try:
            async with asyncio.timeout(30):
                while not all(text in page for text in texts):
                    await asyncio.sleep(GLANCE_SECONDS)
                    page = await self.page()
        except TimeoutError:
            pytest.fail(f"{texts} did not appear:\n{page}")
        return page


@asynccontextmanager
async def running_tui(lab, *arguments, size=(120, 36)):
    terminal = Terminal(f"chrek-{uuid.uuid4().hex[:8]}")
    command = [*PROGRAM, "tui", "--kubeconfig", str(lab.state / "kubeconfig"), "-n", lab.cluster.namespace, *arguments]
    columns, lines = map(str, size)
    try:
        await terminal.tmux("new-session", "-d", "-x", columns, "-y", lines, "-e", "LC_ALL=C.UTF-8", *command)
        yield terminal
    finally:
        await terminal.tmux("kill-server")


@asynccontextmanager
async def slow_agent(lab):
    """The agent stands still most of the time: what takes it a moment can be looked at."""
    agent = lab.agent_pid()

    async def hold():
        try:
            while True:
                os.kill(agent, signal.SIGSTOP)
                await asyncio.sleep(0.09)
                os.kill(agent, signal.SIGCONT)
                await asyncio.sleep(0.01)
        finally:
            os.kill(agent, signal.SIGCONT)

    task = asyncio.create_task(hold())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_a_capture_and_a_restore_are_seen_as_they_happen(lab):
    async with running_tui(lab) as terminal, running_tui(lab, "-c", "nodes", size=(160, 30)) as nodes:
        await terminal.shows("No checkpoints in", "● live")
        await nodes.shows("● live", "CHECKS")
        async with slow_agent(lab):
            name = await lab.prewarm("probe/seen", "--mib", "32")
            await nodes.shows("◐ capture", f"{lab.cluster.namespace}/{name}")
            await terminal.shows(name, "◐ Creating")
        checkpoint = await lab.settled(name)
        assert checkpoint.phase == "Ready", checkpoint.status.message
        await terminal.shows("● Ready", "probe/seen")

        await terminal.press("Enter", "2")
        await terminal.shows("From the container's start to readiness", "memory", "GB/s")
        await terminal.press("9")
        await terminal.shows("Processes (1)", "python3")
        await terminal.type(":graphs")
        await terminal.shows("checkpoints ▸ graphs")
        async with slow_agent(lab):
            await lab.graph(name, "--mib", "32")
            await nodes.shows("◐ restore")
        await lab.ready_pod(name)
        await terminal.shows("✓ restored", "✓ 1  ❄ 0")


async def test_a_checkpoint_is_marked_kept_and_deleted_by_hand(lab):
    name = await lab.prewarm("probe/by-hand")
    await lab.settled(name)
    async with running_tui(lab, size=(80, 24)) as terminal:
        await terminal.shows(name, "● Ready")
        await terminal.press("C-d", "Right", "Enter")
        await terminal.shows("⌫ at")
        await terminal.press("u")
        await terminal.shows(f"{name} is kept")
        await terminal.press("C-d", "Tab", "Tab")
        await terminal.shows("Delete this checkpoint?", name)
        await terminal.type(name)
        while "Delete this" in await terminal.page():
            await terminal.press("Enter")
            await asyncio.sleep(GLANCE_SECONDS)
        await terminal.shows("No checkpoints in")
        assert not [item for item in await lab.cluster.list(CHECKPOINTS) if item["metadata"]["name"] == name]
        await terminal.press("q")
        await terminal.shows("(tmux:")
