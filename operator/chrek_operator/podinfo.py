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
"""File to field. The platform of Dynamo's guide annotates its pods; without an annotation the file is empty."""
_LATER: Final = {
    "dyn_parent_dgd_k8s_name": f"metadata.labels['{names.LABEL_GRAPH}']",
    "dyn_parent_dgd_k8s_namespace": "metadata.namespace",
    "dyn_namespace_worker_suffix": "metadata.labels['nvidia.com/dynamo-worker-hash']",
}
"""What workers of releases 1.1 and 1.2 want besides; platforms since then write labels."""
_LABELS: Final = {"dyn_namespace": "nvidia.com/dynamo-namespace", "dyn_component": "nvidia.com/dynamo-component-type"}

Body = dict[str, Any]


def add_podinfo(metadata: Mapping[str, Any], spec: Body, worker: Body) -> None:
    """Mounts the files, in place, unless the pod has something of its own there."""
    taken = any(volume.get("name") == names.PODINFO_VOLUME for volume in spec.get("volumes") or ())
    if taken or any(_is_there(mount) for mount in worker.get("volumeMounts") or ()):
        return
    items = [{"path": path, "fieldRef": {"fieldPath": field}} for path, field in (FIELDS | _LATER | _labelled(metadata)).items()]
    volume = {"name": names.PODINFO_VOLUME, "downwardAPI": {"items": items}}
    spec["volumes"] = [*(spec.get("volumes") or ()), volume]
    mount = {"name": names.PODINFO_VOLUME, "mountPath": names.PODINFO_DIR, "readOnly": True}
    worker["volumeMounts"] = [*(worker.get("volumeMounts") or ()), mount]


def _labelled(metadata: Mapping[str, Any]) -> dict[str, str]:
    """What only the pod's labels tell."""
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    return {
        path: f"metadata.labels['{label}']"
        for path, label in _LABELS.items()
        if label in labels and f"nvidia.com/{path.replace('_', '-')}" not in annotations
    }


def _is_there(mount: Mapping[str, Any]) -> bool:
    return str(mount.get("mountPath", "")).rstrip("/") == names.PODINFO_DIR
