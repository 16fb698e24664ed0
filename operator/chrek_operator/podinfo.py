"""The files that tell a worker which pod it is: a restored one has its captured environment, and reads these anew."""

from collections.abc import Mapping
from typing import Any, Final

from kubectl_chrek.api import names

FIELDS: Final = {
    "pod_name": "metadata.name",
    "pod_uid": "metadata.uid",
    "pod_namespace": "metadata.namespace",
} | {
    f"dyn_{field}": f"metadata.annotations['nvidia.com/dyn-{field.replace('_', '-')}']"
    for field in ("namespace", "component", "parent_dgd_name", "parent_dgd_namespace", "discovery_backend")
}
"""File to field. The platform annotates its pods; without an annotation the file is empty."""

Body = dict[str, Any]


def add_podinfo(spec: Body, worker: Body) -> None:
    """Mounts the files, in place, unless the pod has something of its own there."""
    taken = any(volume.get("name") == names.PODINFO_VOLUME for volume in spec.get("volumes") or ())
    if taken or any(_is_there(mount) for mount in worker.get("volumeMounts") or ()):
        return
    items = [{"path": path, "fieldRef": {"fieldPath": field}} for path, field in FIELDS.items()]
    volume = {"name": names.PODINFO_VOLUME, "downwardAPI": {"items": items}}
    spec["volumes"] = [*(spec.get("volumes") or ()), volume]
    mount = {"name": names.PODINFO_VOLUME, "mountPath": names.PODINFO_DIR, "readOnly": True}
    worker["volumeMounts"] = [*(worker.get("volumeMounts") or ()), mount]


def _is_there(mount: Mapping[str, Any]) -> bool:
    return str(mount.get("mountPath", "")).rstrip("/") == names.PODINFO_DIR
