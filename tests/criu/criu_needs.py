"""What tests need that really dump and restore; where it is missing they are skipped, with the reason."""

import os
import shutil
from pathlib import Path

import pytest

from kubectl_chrek.local.cluster import CRIU_ROOT

CRIU = Path(os.environ.get("CHREK_CRIU_ROOT", CRIU_ROOT))


def mark(items: list[pytest.Item], folder: Path, *programs: str) -> None:
    """Marks the tests below a folder; `programs` are commands that they need besides runc, each the name of its package too."""
    missing = [f"needs {name} (apt-get install {name})" for name in ("runc", *programs) if shutil.which(name) is None]
    if not (CRIU / "usr/sbin/criu").exists():
        missing.append("needs CRIU (scripts/install-criu)")
    if os.geteuid() != 0:
        missing.append("needs root")
    for item in items:
        if folder in item.path.parents:
            item.add_marker(pytest.mark.criu)
            item.add_marker(pytest.mark.skipif(bool(missing), reason="; ".join(missing)))
