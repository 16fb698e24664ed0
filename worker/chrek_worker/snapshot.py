"""Dynamo's workers since release 1.1, which wait in the directory that DYN_SNAPSHOT_CONTROL_DIR names: ours, beside our own files.

A worker in it sleeps, says that it is ready and looks every 100 ms whether it was captured (then it exits) or restored (then it
wakes up and joins its runtime). In a pod without the variable it starts as always, so none but a source has it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chrek_worker.control import ControlDirectory

READY = ("ready-for-snapshot", "ready-for-checkpoint")
"""Written by the worker; the second by releases 1.1 and 1.2."""
CAPTURED = "snapshot-complete"
RESTORED = "restore-complete"
CONTEXT = "restore-context.json"
"""Read by a restored worker since 1.3, which ends without it: its new pod's environment, as `{"env": {name: value}}`."""
FILES = (*READY, CAPTURED, RESTORED, CONTEXT)
_POD = """
    POD_NAME POD_NAMESPACE POD_UID CONTAINER_NAME
    DYN_NAMESPACE DYN_NAMESPACE_WORKER_SUFFIX DYN_COMPONENT DYN_PARENT_DGD_K8S_NAME DYN_PARENT_DGD_K8S_NAMESPACE
"""
_RUNTIME = """
    DYN_DISCOVERY_BACKEND DYN_KUBE_DISCOVERY_MODE DYN_REQUEST_PLANE DYN_EVENT_PLANE DYN_EVENT_PLANE_HOST
    DYN_TCP_RPC_HOST DYN_TCP_RPC_PORT DYN_TCP_RESPONSE_STREAM_HOST DYN_TCP_RESPONSE_STREAM_PORT DYN_TCP_LISTEN_BACKLOG
    ETCD_ENDPOINTS NATS_SERVER MODEL_EXPRESS_URL PROMETHEUS_ENDPOINT
"""
_SERVER = """
    DYN_SYSTEM_HOST DYN_SYSTEM_PORT DYN_SYSTEM_HEALTH_PATH DYN_SYSTEM_LIVE_PATH
    DYN_HEALTH_CHECK_ENABLED DYN_SYSTEM_STARTING_HEALTH_STATUS DYN_SYSTEM_USE_ENDPOINT_HEALTH_STATUS
"""
_ENGINE = "ENGINE_ID FAILOVER_LOCK_PATH DYN_VLLM_GMS_SHADOW_MODE DYN_GMS_USE_V1"
ASKED = frozenset(f"{_POD} {_RUNTIME} {_SERVER} {_ENGINE}".split())
"""What such a worker takes from the file; it complains of anything else."""


def pass_on_readiness(control: ControlDirectory, ready_file: str) -> None:
    """A worker that says it is ready there is ready for the pod's probe too, which looks at `ready_file`."""
    if ready_file and not os.path.lexists(ready_file) and any((control.path / name).exists() for name in READY):
        with contextlib.suppress(OSError):
            Path(ready_file).touch()


def say_captured(control: ControlDirectory) -> None:
    """The worker may leave."""
    with contextlib.suppress(OSError):  # Then it is made to.
        control.write(CAPTURED, {})


def say_restored(control: ControlDirectory, environment: Mapping[str, str]) -> None:
    """Whoever is restored into this pod finds that it was. Raises OSError.

    A name that the pod lacks is left out, not cleared: the worker's command may have set it in a shell.
    """
    context: dict[str, Any] = {name: value for name, value in environment.items() if name in ASKED}
    control.write(CONTEXT, {"env": context})
    control.write(RESTORED, {})
