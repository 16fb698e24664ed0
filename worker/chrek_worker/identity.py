"""What a restored Python process renews of itself: which pod it is now, and random numbers of its own.

A restored worker is a copy, and there may be many: its environment is the captured one's, and so is the state of every generator of
random numbers. A worker with the hook has both renewed; docs/worker-contract.md says what one without keeps.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import re
import socket
import sys
from pathlib import Path

from kubectl_chrek.api import names

VARIABLES = {
    "pod_name": "POD_NAME",
    "pod_uid": "POD_UID",
    "pod_namespace": "POD_NAMESPACE",
    "dyn_namespace": "DYN_NAMESPACE",
    "dyn_component": "DYN_COMPONENT",
    "dyn_parent_dgd_name": "DYN_PARENT_DGD_K8S_NAME",
    "dyn_parent_dgd_namespace": "DYN_PARENT_DGD_K8S_NAMESPACE",
    "dyn_discovery_backend": "DYN_DISCOVERY_BACKEND",
}
"""File in /etc/podinfo -> the variable that it renews, where there is one."""
SEED = 48
_LIBCRYPTO = re.compile(r"(/\S*/libcrypto[^/\s]*\.so[^/\s]*)$", re.MULTILINE)


def renew(podinfo: str = names.PODINFO_DIR) -> None:
    """Reads the pod's identity anew and draws new seeds."""
    renew_environment(podinfo)
    renew_random()


def renew_environment(podinfo: str = names.PODINFO_DIR) -> None:
    """Variables that tell of the pod get its present values; those that the worker never had stay unset."""
    now = {"HOSTNAME": socket.gethostname()}
    for file, variable in VARIABLES.items():
        try:
            now[variable] = Path(podinfo, file).read_text(encoding="utf-8").strip()
        except OSError:
            continue
    if "POD_IP" in os.environ:
        try:
            now["POD_IP"] = socket.gethostbyname(now["HOSTNAME"])
        except OSError:
            del os.environ["POD_IP"]  # None is better than a dead pod's.
    os.environ.update({variable: value for variable, value in now.items() if variable in os.environ and value})


def renew_random() -> None:
    """New seeds for Python's, NumPy's, torch's and OpenSSL's global generators, of those that are loaded; on the GPU as well."""
    random.seed()
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    if numpy is not None:
        numpy.random.seed()
    if torch is not None:
        torch.seed()
    renew_openssl()


def renew_openssl(maps: str = "/proc/self/maps") -> None:
    """Has each OpenSSL of this process seeded by the kernel anew: it makes the keys of TLS connections.

    By itself it does that after a fork, which it knows by the PID, and once an hour: copies would make the same keys until then.
    """
    python = sys.modules.get("_ssl")
    if python is not None:
        python.RAND_add(os.urandom(SEED), float(SEED))
    for path in sorted(set(_LIBCRYPTO.findall(Path(maps).read_text(errors="surrogateescape")))):
        with contextlib.suppress(OSError, AttributeError):  # Removed meanwhile, or not OpenSSL's.
            ctypes.CDLL(path, mode=os.RTLD_NOLOAD).RAND_seed(os.urandom(SEED), SEED)
