"""The library that copies for the CUDA driver by several threads (worker/native), for a worker that is to be captured."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

from kubectl_chrek.api import names

LIBRARY = f"{names.SHIM_DIR}/{names.DRIVER_COPY_FILE}"
VARIABLE = "LD_PRELOAD"
DEVICE = "/dev/nvidiactl"
MACHINE = "x86_64"


def added(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment, with the library behind what else is loaded first, where there are a GPU and a library for this machine."""
    result = dict(environment)
    if _is_wanted(environment.get(names.ENV_DRIVER_COPY, "")) and _is_there():
        result[VARIABLE] = ":".join(filter(None, (environment.get(VARIABLE, ""), LIBRARY)))
    return result


def _is_wanted(said: str) -> bool:
    return said == "on" or (said != "off" and Path(DEVICE).exists())


def _is_there() -> bool:
    with contextlib.suppress(OSError):
        return os.uname().machine == MACHINE and Path(LIBRARY).stat().st_size > 0
    return False
