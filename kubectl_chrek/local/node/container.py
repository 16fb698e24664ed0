"""One container of a pod: started, watched, and started again as the pod's policy says."""

import asyncio
import contextlib
import secrets
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from kubectl_chrek.api.errors import ChrekError
from kubectl_chrek.local.clock import timestamp
from kubectl_chrek.local.node import cgroups, launch, probes, restarts
from kubectl_chrek.local.node.context import Context
from kubectl_chrek.local.node.environment import ConfigError
from kubectl_chrek.local.node.logs import Log
from kubectl_chrek.local.node.prober import Listener, probe_all
from kubectl_chrek.local.node.runtime import Exit, Handle, StartError
from kubectl_chrek.local.node.status import State, View

_DRAIN_SECONDS: Final = 2.0
_START_FAILED: Final = 128


class _HeldError(Exception):
    """The container cannot be started now; args are the waiting reason and its message."""


class ContainerLoop:
    """Runs one container of a pod until it has ended for good, or the pod stops."""

    def __init__(self, context: Context, spec: Mapping[str, Any], *, init: bool = False) -> None:
        self._context = context
        self._spec = spec
        self._init = init
        self._handle: Handle | None = None
        self._ended = asyncio.Event()
        self._attempt = 0
        self.view = View(spec["name"], spec["image"])
        self.log: Log | None = None

    async def run(self) -> None:
        """Returns when the container will not be started again."""
        context, crashes = self._context, 0
        while not context.stopping.is_set():
            try:
                ended, seconds = await self._once()
            except _HeldError as held:
                self._wait_state(*held.args)
                if await context.pause(context.config.backoff_seconds):
                    return
                continue
            crashes = 1 if seconds >= restarts.HEALTHY_SECONDS else crashes + 1
            policy = context.pod["spec"].get("restartPolicy", "Always")
            if not restarts.again(policy, ended.code, init=self._init):
                return
            if await self._back_off(restarts.delay(context.config.backoff_seconds, crashes)):
                return
            self._attempt += 1

    async def stop(self, grace: float, why: str = "Stopping container {}") -> None:
        """Ends the process that runs now, if any: SIGTERM, and SIGKILL after `grace` seconds."""
        handle = self._handle
        if handle is None:
            return
        self._record("Normal", "Killing", why.format(self.view.name))
        deadline = time.monotonic() + grace
        await self._pre_stop(grace)
        handle.send(signal.SIGTERM)
        if not await self._has_ended(max(deadline - time.monotonic(), 0)):
            self._kill(handle)
            await self._ended.wait()

    def log_file(self, *, previous: bool) -> Path | None:
        """The log of the last run or of the one before it, if there was one."""
        number = int(self.log.path.stem) - previous if self.log else -1
        return self.log.path.with_name(f"{number}.log") if self.log and number >= 0 else None

    @property
    def running_id(self) -> str:
        """The ID of the container that runs; empty when none does."""
        return self._handle.id if self._handle else ""

    # -- below: one run ----------------------------------------------------------------------------------------------------------

    async def _once(self) -> tuple[Exit, float]:
        """Runs the container once; returns how it ended and how many seconds it ran."""
        context, identifier = self._context, secrets.token_hex(32)
        self._check_image()
        began = time.time()
        try:
            ended = await self._run(identifier)
        except ConfigError as error:
            raise _HeldError("CreateContainerConfigError", str(error)) from error
        except (StartError, OSError, ChrekError) as error:
            message = f"failed to create containerd task: {error}"
            self._record("Warning", "Failed", f"Error: {message}")
            ended = Exit(_START_FAILED, 0, time.time())
            self._terminated(identifier, ended, began, "StartError", message)
        finally:
            await context.services.runtime.remove(identifier)
            cgroups.remove(context.config.cgroup_root, self._cgroup(identifier))
            context.changed()
        return ended, ended.time - began

    async def _run(self, identifier: str) -> Exit:
        context, view, runtime = self._context, self.view, self._context.services.runtime
        spec = await launch.build(context, self._spec, identifier)
        log = self.log = Log(context.log_directory / view.name / f"{self._attempt}.log")
        try:
            handle = await runtime.start(identifier, spec, log)
        except StartError:
            await log.finish(_DRAIN_SECONDS)
            raise
        self._ended.clear()
        self._handle = handle
        began = time.time()
        self._enter({"running": {"startedAt": timestamp(began)}}, identifier)
        self._record("Normal", "Created", f"Created container: {view.name}")
        self._record("Normal", "Started", f"Started container {view.name}")
        prober = asyncio.create_task(self._probe(identifier))
        context.changed()
        if context.stopping.is_set():
            self._kill(handle)
        ended = await runtime.wait(handle)
        self._handle = None
        self._ended.set()
        prober.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await prober
        await log.finish(_DRAIN_SECONDS)
        killed = cgroups.oom_killed(context.config.cgroup_root, self._cgroup(identifier))
        reason = "OOMKilled" if killed else "Completed" if ended.code == 0 else "Error"
        self._terminated(identifier, ended, began, reason, launch.termination_message(context, self._spec))
        return ended

    async def _probe(self, identifier: str) -> None:
        target = probes.Target(self._context.services.runtime, identifier, self._context.facts.pod_ip, probes.ports(self._spec))
        listener = Listener(self._set_ready, self._set_started, self._unhealthy, self._condemned)
        if self._init:
            self._set_started()
            return
        await probe_all(self._spec, target, listener, self._context.config.readiness_seconds)

    def _set_ready(self, ready: bool) -> None:
        if self.view.ready != ready:
            self.view.ready = ready
            self._context.changed()

    def _set_started(self) -> None:
        self.view.started = True
        self._context.changed()

    def _unhealthy(self, kind: str, detail: str) -> None:
        self._record("Warning", "Unhealthy", f"{kind} probe failed: {detail}")

    async def _condemned(self, why: str) -> None:
        grace = self._context.pod["spec"].get("terminationGracePeriodSeconds", 30)
        await self.stop(grace, f"Container {{}} {why}, will be restarted")

    # -- below: states -----------------------------------------------------------------------------------------------------------

    def _check_image(self) -> None:
        problem = launch.image_problem(self.view.image)
        if not problem:
            self._record("Normal", "Pulled", f'Container image "{self.view.image}" already present on machine')
            return
        again = self.view.state.get("waiting", {}).get("reason") in ("ErrImagePull", "ImagePullBackOff")
        if again:
            self._record("Normal", "BackOff", f'Back-off pulling image "{self.view.image}"')
        else:
            self._record("Warning", "Failed", f'Failed to pull image "{self.view.image}": {problem}')
        raise _HeldError("ImagePullBackOff" if again else "ErrImagePull", problem)

    def _terminated(self, identifier: str, ended: Exit, began: float, reason: str, message: str) -> None:
        state: State = {
            "exitCode": ended.code,
            "reason": reason,
            "startedAt": timestamp(began),
            "finishedAt": timestamp(ended.time),
            "containerID": f"containerd://{identifier}",
        }
        self._enter({"terminated": state | ({"message": message} if message else {})}, identifier)
        self.view.ready = self._init and ended.code == 0

    def _enter(self, state: State, identifier: str) -> None:
        """The container `identifier` runs, or has ended: what ended before it becomes the last state."""
        view = self.view
        if "terminated" in view.state:
            view.last_state = view.state
        view.id, view.state, view.restarts, view.started, view.ready = identifier, state, self._attempt, False, False

    def _wait_state(self, reason: str, message: str) -> None:
        if reason == "CreateContainerConfigError":
            self._record("Warning", "Failed", f"Error: {message}")
        if "terminated" in self.view.state:
            self.view.last_state = self.view.state
        self.view.state = {"waiting": {"reason": reason, "message": message}}
        self._context.changed()

    async def _back_off(self, delay: float) -> bool:
        """Waits before the next run; True when the pod stops."""
        if not delay:
            return self._context.stopping.is_set()
        ended, before = self.view.state, self.view.last_state
        pod = self._context.pod["metadata"]
        words = f"restarting failed container={self.view.name} pod={pod['name']}_{pod['namespace']}({pod['uid']})"
        self._record("Warning", "BackOff", f"Back-off {words}")
        self._wait_state("CrashLoopBackOff", f"back-off {restarts.words(delay)} {words}")
        if not await self._context.pause(delay):
            return False
        self.view.state, self.view.last_state = ended, before
        return True

    # -- below: stopping ---------------------------------------------------------------------------------------------------------

    async def _pre_stop(self, grace: float) -> None:
        hook = ((self._spec.get("lifecycle") or {}).get("preStop") or {}).get("exec")
        if hook and self._handle:
            with contextlib.suppress(TimeoutError):
                await self._context.services.runtime.execute(self._handle.id, hook["command"], grace)

    async def _has_ended(self, seconds: float) -> bool:
        """Waits for the process to end; False when the time is up, or the pod may wait no longer."""
        waits = [asyncio.create_task(event.wait()) for event in (self._ended, self._context.kill)]
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for task in waits:
            task.cancel()
        return self._ended.is_set()

    def _kill(self, handle: Handle) -> None:
        handle.send(signal.SIGKILL)
        cgroups.kill(self._context.config.cgroup_root, self._cgroup(handle.id))

    def _cgroup(self, identifier: str) -> str:
        return f"{cgroups.pod_path(self._context.config, self._context.pod)}/{identifier}"

    def _record(self, type: Any, reason: str, message: str) -> None:  # noqa: A002 - the API's own word
        self._context.record(type, reason, message, self.view.name, init=self._init)
