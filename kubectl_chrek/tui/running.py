"""The start of the TUI: terminal, settings, connection."""

import asyncio
import os
import sys
from contextlib import AsyncExitStack

from kubectl_chrek.api.errors import UsageError
from kubectl_chrek.ops.connection import ConnectionOptions, open_cluster
from kubectl_chrek.tui.app import ChrekApp
from kubectl_chrek.tui.clusters import ClusterSource, KubeconfigContexts
from kubectl_chrek.tui.commands import parse
from kubectl_chrek.tui.config import config_path, load_config
from kubectl_chrek.tui.session import ALL


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

    async def run() -> int:
        async with AsyncExitStack() as stack:
            cluster = await stack.enter_async_context(open_cluster(options))
            await cluster.version()
            app = ChrekApp(
                ClusterSource(cluster, options.context),
                contexts=KubeconfigContexts(options, stack),
                namespace=ALL if options.all_namespaces else cluster.namespace,
                read_only=read_only,
                command=command,
                config=config,
            )
            await app.run_async()
            return app.return_code or os.EX_OK

    return asyncio.run(run())
