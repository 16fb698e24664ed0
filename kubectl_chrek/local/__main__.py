"""`python -m kubectl_chrek.local DIR`: a local cluster until SIGTERM, or until its standard input ends if that is a pipe."""

import argparse
import asyncio
import logging
import os
import signal
import stat
import sys
from pathlib import Path

from kubectl_chrek.api.errors import ChrekError
from kubectl_chrek.local.cluster import DIRECTORY, STORAGES, LocalCluster, LocalConfig


def main() -> int:
    """Runs the cluster; `DIR/ready` exists while it can be used, `DIR/failed` says why it could not start."""
    parser = argparse.ArgumentParser(prog="python -m kubectl_chrek.local", description="A cluster on this machine")
    parser.add_argument("state", type=Path, help="directory for everything that it keeps")
    parser.add_argument("--host-mount", type=Path, action="append", default=[], help="path that containers see read-only")
    parser.add_argument("--gpus", type=int, default=0, help="how many NVIDIA GPUs it gives out")
    parser.add_argument("--storage", choices=STORAGES, default=DIRECTORY, help="where artifacts are kept")
    parser.add_argument("--cache", default="", metavar="SIZE", help="what the agent may keep of what its restores have read")
    args = parser.parse_args()
    args.state.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(level=logging.INFO, filename=args.state / "cluster.log", format="%(asctime)s %(levelname)s %(message)s")
    mounts = tuple(args.host_mount)
    config = LocalConfig(state=args.state.resolve(), host_mounts=mounts, gpus=args.gpus, storage=args.storage, cache=args.cache)
    try:
        asyncio.run(_run(config))
    except ChrekError as error:
        (args.state / "failed").write_text(f"{error}{f' ({error.hint})' if error.hint else ''}\n")
        return error.exit_code
    return 0


async def _run(config: LocalConfig) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    if stat.S_ISFIFO(os.fstat(0).st_mode):
        loop.add_reader(0, _read_input, loop, stop)
    ready = config.state / "ready"
    async with LocalCluster.start(config):
        ready.touch()
        try:
            await stop.wait()
        finally:
            ready.unlink(missing_ok=True)


def _read_input(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    if not os.read(0, 4096):
        loop.remove_reader(0)
        stop.set()


if __name__ == "__main__":
    sys.exit(main())
