"""Startup, readiness and liveness probes: asking, and what follows from the answers."""

import asyncio
import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import aiohttp

from kubectl_chrek.api.errors import ChrekError
from kubectl_chrek.local.node.runtime import Runtime

_ANSWER_BYTES: Final = 10 * 1024


class Answer(NamedTuple):
    """What a probe found; `detail` says why it failed."""

    success: bool
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a container is asked."""

    runtime: Runtime
    id: str
    pod_ip: str
    ports: Mapping[str, int]
    """Port numbers by name."""


@dataclass(frozen=True, slots=True)
class Tally:
    """Answers in a row, and the verdict they add up to; None until there is one."""

    success_threshold: int = 1
    failure_threshold: int = 3
    successes: int = 0
    failures: int = 0
    verdict: bool | None = None

    def after(self, success: bool) -> "Tally":
        """The tally with one more answer."""
        successes, failures = (self.successes + 1, 0) if success else (0, self.failures + 1)
        verdict = self.verdict
        if successes >= self.success_threshold:
            verdict = True
        elif failures >= self.failure_threshold:
            verdict = False
        return Tally(self.success_threshold, self.failure_threshold, successes, failures, verdict)


def tally(probe: Mapping[str, Any]) -> Tally:
    """An empty tally with a probe's thresholds."""
    return Tally(probe.get("successThreshold") or 1, probe.get("failureThreshold") or 3)


def ports(container: Mapping[str, Any]) -> dict[str, int]:
    """A container's named ports."""
    return {port["name"]: port["containerPort"] for port in container.get("ports") or () if "name" in port}


async def ask(probe: Mapping[str, Any], target: Target) -> Answer:
    """Asks once, for as long as the probe's `timeoutSeconds`."""
    timeout = float(probe.get("timeoutSeconds") or 1)
    try:
        async with asyncio.timeout(timeout):
            if "exec" in probe:
                return await _exec(probe["exec"]["command"], target, timeout)
            if "httpGet" in probe:
                return await _http(probe["httpGet"], target)
            if "tcpSocket" in probe:
                return await _tcp(probe["tcpSocket"], target)
    except TimeoutError:
        return Answer(False, f"timed out after {timeout:g}s")
    except (OSError, ChrekError) as error:
        return Answer(False, str(error))
    return Answer(False, "grpc probes are not supported by the local node")


async def _exec(command: list[str], target: Target, timeout: float) -> Answer:
    result = await target.runtime.execute(target.id, command, timeout)
    return Answer(result.code == 0, (result.out + result.err).decode(errors="replace").strip())


async def _http(request: Mapping[str, Any], target: Target) -> Answer:
    port = _port(request["port"], target)
    host, path = request.get("host") or target.pod_ip, request.get("path") or "/"
    url = f"{(request.get('scheme') or 'HTTP').lower()}://{host}:{port}/{path.lstrip('/')}"
    headers = {"User-Agent": "kube-probe/1.33"} | {one["name"]: one["value"] for one in request.get("httpHeaders") or ()}
    try:
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=False, force_close=True)) as session,
            session.get(url, headers=headers, allow_redirects=False) as response,
        ):
            await response.content.read(_ANSWER_BYTES)
            return Answer(200 <= response.status < 400, f"HTTP probe failed with statuscode: {response.status}")
    except aiohttp.ClientConnectorError as error:
        reason = os.strerror(error.errno).lower() if error.errno else str(error)
        return Answer(False, f'Get "{url}": dial tcp {host}:{port}: connect: {reason}')
    except aiohttp.ClientError as error:
        return Answer(False, f'Get "{url}": {error}')


async def _tcp(request: Mapping[str, Any], target: Target) -> Answer:
    _, writer = await asyncio.open_connection(request.get("host") or target.pod_ip, _port(request["port"], target))
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return Answer(True)


def _port(given: int | str, target: Target) -> int:
    if isinstance(given, str) and not given.isdigit():
        if given not in target.ports:
            raise ChrekError(f"the container has no port named {given}")
        return target.ports[given]
    return int(given)
