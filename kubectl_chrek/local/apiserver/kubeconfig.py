"""The kubeconfig that lets everybody in."""

import base64
import json
import os
from pathlib import Path
from typing import Final

CONTEXT: Final = "chrek-local"


def write_kubeconfig(path: Path, url: str, authority: bytes, token: str) -> None:
    """Writes a kubeconfig that only its owner can read, with one context whose credentials are embedded."""
    cluster = {"server": url, "certificate-authority-data": base64.b64encode(authority).decode()}
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": CONTEXT, "cluster": cluster}],
        "users": [{"name": CONTEXT, "user": {"token": token}}],
        "contexts": [{"name": CONTEXT, "context": {"cluster": CONTEXT, "user": CONTEXT, "namespace": "default"}}],
        "current-context": CONTEXT,
    }
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(content, file, indent=2)
