"""Where the custom resource definitions lie: in the wheel beside this file, in a checkout under charts/."""

from pathlib import Path
from typing import Any

import yaml

_HERE = Path(__file__).resolve().parent
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # The C part, ten times as fast, is there where libyaml is.


def crd_directory() -> Path:
    """The folder of CRD YAML files."""
    packaged = _HERE / "crds"
    return packaged if packaged.is_dir() else _HERE.parents[1] / "charts" / "chrek" / "crds"


def load_crds() -> list[dict[str, Any]]:
    """All CustomResourceDefinitions, in the order of their file names."""
    return [yaml.load(path.read_text(), _LOADER) for path in sorted(crd_directory().glob("*.yaml"))]  # noqa: S506 - both are safe
