"""The probes of one run of a container, asked for as long as it runs."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from kubectl_chrek.local.node import probes


@dataclass(frozen=True, slots=True)
class Listener:
    """Who is told what the probes find."""

    ready: Callable[[bool], None]
    started: Callable[[], None]
    unhealthy: Callable[[str, str], None]
    """An answer was a failure: which probe, and why."""
    condemned: Callable[[str], Awaitable[None]]
    """The startup or liveness probe gave the container up."""


async def probe_all(
    container: Mapping[str, Any], target: probes.Target, listener: Listener, readiness_seconds: float | None
) -> None:
    """Runs until cancelled, or until the container is given up. Readiness and liveness wait for the startup probe."""
    startup = container.get("startupProbe")
    if startup and not await _start(startup, target, listener):
        return
    listener.started()
    readiness, liveness = container.get("readinessProbe"), container.get("livenessProbe")
    if not readiness:
        listener.ready(True)
    async with asyncio.TaskGroup() as group:
        if readiness:
            group.create_task(_readiness(readiness, target, listener, readiness_seconds))
        if liveness:
            group.create_task(_liveness(liveness, target, listener))


async def _start(probe: Mapping[str, Any], target: probes.Target, listener: Listener) -> bool:
    tally = probes.tally(probe)
    await _first(probe)
    while True:
        tally = tally.after(await _ask("Startup", probe, target, listener))
        if tally.verdict is False:
            await listener.condemned("failed startup probe")
        if tally.verdict is not None:
            return tally.verdict
        await _next(probe)


async def _readiness(probe: Mapping[str, Any], target: probes.Target, listener: Listener, eager: float | None) -> None:
    tally = probes.tally(probe)
    was_ready = False
    await _first(probe)
    while True:
        tally = tally.after(await _ask("Readiness", probe, target, listener))
        listener.ready(tally.verdict is True)
        was_ready |= tally.verdict is True
        if eager is not None and not was_ready:
            await asyncio.sleep(eager)
        else:
            await _next(probe)


async def _liveness(probe: Mapping[str, Any], target: probes.Target, listener: Listener) -> None:
    tally = probes.tally(probe)
    await _first(probe)
    while True:
        tally = tally.after(await _ask("Liveness", probe, target, listener))
        if tally.verdict is False:
            await listener.condemned("failed liveness probe")
            return
        await _next(probe)


async def _ask(kind: str, probe: Mapping[str, Any], target: probes.Target, listener: Listener) -> bool:
    answer = await probes.ask(probe, target)
    if not answer.success:
        listener.unhealthy(kind, answer.detail)
    return answer.success


async def _first(probe: Mapping[str, Any]) -> None:
    await asyncio.sleep(float(probe.get("initialDelaySeconds") or 0))


async def _next(probe: Mapping[str, Any]) -> None:
    await asyncio.sleep(float(probe.get("periodSeconds") or 10))
