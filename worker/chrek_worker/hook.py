"""For Python workers that want a say before their capture and after their restore; `install` is all there is to call."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from chrek_worker.control import HOOK, HUSH, HUSHED, REFRESHED, ControlDirectory
from chrek_worker.identity import renew
from kubectl_chrek.api import names

PAUSE = 0.005
"""Between two looks, in seconds: a restored worker waits for this one."""

Call = Callable[[], object]


def install(*, before_capture: Call | None = None, on_restore: Call | None = None) -> bool:
    """Has this process told of its capture and its restore, if it is one that is captured; to be called once, before it is ready.

    Of a worker with several processes each may do it. Both calls are made in a thread of the hook's own, and what they raise is the
    reason for a capture that fails or a cold start.

    Args:
        before_capture: To make the process small: caches and weights that `on_restore` brings back.
        on_restore: Called once its environment and its random numbers are renewed, and before its pod is called restored.
            What either returns, if it is a dict, is told with its success.

    Returns:
        False where nothing is to be done: this process is not captured.
    """
    signal_file, marker = os.environ.get(names.ENV_SIGNAL_FILE), os.environ.get(names.ENV_MARKER_FILE)
    if not signal_file or not marker:
        return False
    control, end = ControlDirectory(str(Path(signal_file).parent)), f".{os.getpid()}"

    def restored() -> object:
        renew()
        return None if on_restore is None else on_restore()

    def watch() -> None:
        if before_capture is not None:
            _wait(control.path / HUSH)
            _report(control, f"{HUSHED}{end}", before_capture)
        _wait(Path(marker))
        _report(control, f"{REFRESHED}{end}", restored)

    control.write(f"{HOOK}{end}", {"pid": os.getpid(), "quiesces": before_capture is not None})
    threading.Thread(target=watch, name="chrek-hook", daemon=True).start()
    return True


def _wait(path: Path) -> None:
    while not path.exists():
        time.sleep(PAUSE)


def _report(control: ControlDirectory, name: str, call: Call) -> None:
    try:
        found = call()
    except Exception as error:
        control.write(name, {"ok": False, "reason": f"{type(error).__name__}: {error}"})
    else:
        control.write(name, {"ok": True, **(found if isinstance(found, dict) else {})})
