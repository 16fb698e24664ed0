"""`kubectl chrek demo`: a worker started cold, captured and brought back on this machine, with nothing but Linux, root and CRIU."""

import asyncio
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

import kubectl_chrek
from kubectl_chrek.api.errors import ChrekError, UsageError
from kubectl_chrek.local.cluster import DIRECTORY, STORAGES, LocalConfig, check_criu
from kubectl_chrek.local.node import check_machine
from kubectl_chrek.local.story import tell

Say = Callable[[str], None]

_CHECKOUT: Final = Path(kubectl_chrek.__file__).resolve().parents[1]
_START_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What the command line says."""

    keep: bool = False
    state: str = ""
    storage: str = DIRECTORY


@contextmanager
def run_demo(options: DemoOptions, say: Say) -> Iterator[Path]:
    """Runs the demo and holds its cluster until the block is left, or for good with `keep`.

    Args:
        options: See DemoOptions.
        say: Takes the timeline, line by line.

    Yields:
        The cluster's kubeconfig.

    Raises:
        ChrekError: This machine cannot run it, or a step failed.
    """
    check()
    if options.storage not in STORAGES:
        raise UsageError(f"there is no storage {options.storage!r}", hint=f"give one of {', '.join(STORAGES)}")
    graph = load_graph()
    state = Path(options.state or tempfile.mkdtemp(prefix="chrek-demo-", dir="/var/tmp")).resolve()
    begin = time.monotonic()
    with local_cluster(state, keep=options.keep, storage=options.storage) as kubeconfig:
        say(f"{time.monotonic() - begin:6.1f} s  cluster is up: API server, node, operator, agent")
        asyncio.run(tell(kubeconfig, graph, say, begin))
        yield kubeconfig
        if options.keep:
            say(f"\nThe cluster goes on. To use it: export KUBECONFIG={kubeconfig}")
            say(f"To end it: kill $(cat {state / 'pid'}); its files are in {state}")
    if not options.state and not options.keep:
        shutil.rmtree(state, ignore_errors=True)


def check() -> None:
    """Whether the demo can run here. Raises ChrekError with the first thing that is missing."""
    if platform.system() != "Linux":
        raise ChrekError("the demo needs Linux, because CRIU does", hint="run it on a Linux machine or VM")
    if os.geteuid() != 0:
        raise ChrekError("the demo needs root, because CRIU does", hint="run it with sudo")
    check_machine()
    check_criu(LocalConfig(state=Path()).criu_root)


def load_graph() -> dict[str, Any]:
    """The demo's DynamoGraphDeployment with this checkout's paths. Raises ChrekError when its worker is not installed."""
    source, site = _CHECKOUT / "demo" / "graph.yaml", _CHECKOUT / ".cache" / "demo"
    if not source.exists() or not site.is_dir():
        raise ChrekError("the demo's worker is not installed", hint="run `make demo` in a checkout of kubectl-chrek")
    text = source.read_text().replace("${DEMO_ROOT}", str(source.parent)).replace("${SITE}", str(site))
    graph: dict[str, Any] = yaml.safe_load(text)
    return graph


@contextmanager
def local_cluster(state: Path, *, keep: bool, storage: str = DIRECTORY, cache: str = "") -> Iterator[Path]:
    """A local cluster in a process of its own. Unless it is kept, it ends with us, however we end: its standard input does."""
    state.mkdir(parents=True, exist_ok=True)
    for stale in ("ready", "failed"):
        (state / stale).unlink(missing_ok=True)
    command = [sys.executable, "-m", "kubectl_chrek.local", str(state), "--host-mount", str(_CHECKOUT), "--storage", storage]
    command += ["--cache", cache] if cache else []
    with (state / "output.log").open("ab") as output:
        stdin = subprocess.DEVNULL if keep else subprocess.PIPE
        process = subprocess.Popen(command, stdin=stdin, stdout=output, stderr=output, start_new_session=True)
    (state / "pid").write_text(f"{process.pid}\n")
    finished = False
    try:
        _wait_ready(process, state)
        yield state / "kubeconfig"
        finished = True
    finally:
        if not (keep and finished):
            process.terminate()
            process.wait(_STOP_SECONDS)
            if process.stdin is not None:
                process.stdin.close()


def _wait_ready(process: "subprocess.Popen[bytes]", state: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not (state / "ready").exists():
        if process.poll() is not None:
            failed = state / "failed"
            reason = failed.read_text().strip() if failed.exists() else f"see {state}/output.log and cluster.log"
            raise ChrekError(f"the cluster did not start: {reason}")
        if time.monotonic() > deadline:
            raise ChrekError(f"the cluster did not start within {_START_SECONDS:g} s", hint=f"see {state}/cluster.log")
        time.sleep(0.05)
