"""The shim as a ConfigMap: one zip file that any Python >= 3.9 runs, the same bytes for the same sources.

Beside it are the library that copies for the CUDA driver (worker/native) and, for containers that get their environment by
`envFrom`, the variables of workers that can be captured.
"""

import base64
import io
import zipfile
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from chrek_operator.capture_env import capture_data
from kubectl_chrek.api import names
from kubectl_chrek.api.errors import ChrekError

WORKER: Final = "chrek_worker"
# The worker's package knows the names that all programs share, and nothing else of ours.
SHARED: Final = ("__init__.py", "api/__init__.py", "api/names.py")
MAIN: Final = f"import runpy\n\nrunpy.run_module({WORKER!r}, run_name='__main__', alter_sys=True)\n"
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)


@cache
def shim_archive() -> bytes:
    """The zip file. Raises ChrekError when the worker's package is not installed beside the operator."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in _members():
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def shim_config_map() -> dict[str, Any]:
    """The ConfigMap that every namespace with our pods holds."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": names.SHIM_CONFIG_MAP, "labels": {"app.kubernetes.io/managed-by": names.MANAGER}},
        "data": capture_data(),
        "binaryData": {
            names.SHIM_FILE: base64.b64encode(shim_archive()).decode(),
            names.DRIVER_COPY_FILE: base64.b64encode(driver_copy()).decode(),
        },
    }


@cache
def driver_copy() -> bytes:
    """The library; nothing where it was not built, which workers do without. Raises ChrekError as `shim_archive`."""
    path = _package(WORKER) / names.DRIVER_COPY_FILE
    return path.read_bytes() if path.exists() else b""


def _members() -> Iterator[tuple[str, bytes]]:
    yield "__main__.py", MAIN.encode()
    worker = _package(WORKER)
    for path in sorted(worker.rglob("*.py")):
        yield f"{WORKER}/{path.relative_to(worker).as_posix()}", path.read_bytes()
    shared = _package("kubectl_chrek")
    for name in SHARED:
        yield f"kubectl_chrek/{name}", (shared / name).read_bytes()


def _package(name: str) -> Path:
    """The folder of a package that is not imported."""
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise ChrekError(f"package {name} is not installed", hint="install kubectl-chrek as a whole")
    return Path(spec.submodule_search_locations[0])
