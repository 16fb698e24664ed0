"""The start of the TUI: terminal, settings, connection."""

import asyncio
import gc
import os
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Final

from kubectl_chrek.api.errors import UsageError
from kubectl_chrek.ops.connection import ConnectionOptions, open_cluster
from kubectl_chrek.tui.app import ChrekApp
from kubectl_chrek.tui.commands import parse
from kubectl_chrek.tui.config import config_path, load_config
from kubectl_chrek.tui.session import ALL
from kubectl_chrek.tui.source import Opened

_CLIENT: Final = "kubectl_chrek.tui.clusters"


def run_tui(options: ConnectionOptions, *, read_only: bool, command: str = "") -> int:
    """Runs the TUI until its user quits; returns the process's exit code.

    Args:
        options: The cluster and the namespace to show first.
        read_only: Nothing that changes the cluster can be done.
        command: A line of the command line, run at the start: `nodes`, `gc --failed`.

    Raises:
        UsageError: There is no terminal to draw on, or no such command, or the user's settings are off.
        ChrekError: The cluster cannot be reached.
    """
    # Textual draws on stderr and would run unseen with all three redirected.
    if not all(stream is not None and stream.isatty() for stream in (sys.__stdin__, sys.__stdout__, sys.__stderr__)):
        raise UsageError("the TUI needs a terminal", hint="use `kubectl chrek ls` in scripts and pipes")
    config = load_config(config_path())
    if command:
        parse(command)

    # What is made until the first list stands is there to stay; whoever follows it turns the collector on again.
    gc.disable()

    async def run() -> int:
        async with AsyncExitStack() as stack:
            connect: Callable[[], Awaitable[Opened]] = partial(_connect, options, stack)
            if may_ask(options):
                opened = asyncio.ensure_future(connect())
                await opened
                connect = partial(asyncio.shield, opened)
            app = ChrekApp(connect, read_only=read_only, command=command, config=config)
            await app.run_async()
            if app.failure:
                raise app.failure
            return app.return_code or os.EX_OK

    return asyncio.run(run())


def may_ask(options: ConnectionOptions) -> bool:
    """A program that a kubeconfig names for its credentials may ask on the terminal, which is the TUI's once it is drawn."""
    paths = options.kubeconfig or os.environ.get("KUBECONFIG") or "~/.kube/config"
    files = [Path(path).expanduser() for path in paths.split(os.pathsep) if path]
    return any("exec" in path.read_text(errors="replace") for path in files if os.access(path, os.R_OK))


async def _connect(options: ConnectionOptions, stack: AsyncExitStack) -> Opened:
    """In a thread the client is loaded: that takes longer than the first frame, and keys are answered meanwhile."""
    await asyncio.to_thread(import_module, _CLIENT)
    from kubectl_chrek.tui.clusters import ClusterSource, KubeconfigContexts

    cluster = await stack.enter_async_context(open_cluster(options))
    await cluster.version()
    namespace = ALL if options.all_namespaces else cluster.namespace
    return Opened(ClusterSource(cluster, options.context), KubeconfigContexts(options, stack), namespace)
