"""Where the custom resource definitions lie: in the wheel beside this file, in a checkout under charts/."""

from pathlib import Path
from typing import Any

import yaml

_HERE = Path(__file__).resolve().parent


def crd_directory() -> Path:
    """The folder of CRD YAML files."""
    packaged = _HERE / "crds"
    return packaged if packaged.is_dir() else _HERE.parents[1] / "charts" / "chrek" / "crds"


def load_crds() -> list[dict[str, Any]]:
    """All CustomResourceDefinitions, in the order of their file names."""
    return [yaml.safe_load(path.read_text()) for path in sorted(crd_directory().glob("*.yaml"))]
