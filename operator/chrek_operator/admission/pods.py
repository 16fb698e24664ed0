"""What becomes of a pod that asks for a checkpoint. Pure: from the pod and the checkpoint to a pod."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from chrek_operator.binding import Binding
from chrek_operator.injection import Injection, inject_target, original_command
from chrek_operator.objects import is_pod_label
from chrek_operator.outcome import words
from chrek_operator.settings import Settings
from kubectl_chrek.api import names
from kubectl_chrek.api.checkpoint import Checkpoint
from kubectl_chrek.api.errors import UsageError
from kubectl_chrek.api.rendering import worker_container

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Request:
    """What a pod asks for: a checkpoint by name or hash, or that of a service of a graph."""

    reference: str = ""
    graph: str = ""
    service: str = ""


def read_request(pod: Mapping[str, Any], settings: Settings) -> Request | None:
    """What the pod asks for; None when it asks for nothing, or has the shim already."""
    metadata = pod.get("metadata") or {}
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    if names.LABEL_RESTORE in labels or names.LABEL_SOURCE in labels:
        return None
    if annotations.get(names.ANNOTATION_RESTORE_FROM):
        return Request(reference=str(annotations[names.ANNOTATION_RESTORE_FROM]))
    graph, service = labels.get(names.LABEL_GRAPH), labels.get(names.LABEL_COMPONENT)
    if settings.mode == "integrate" and graph and service and is_pod_label(graph):
        return Request(graph=graph, service=service)
    return None


def with_shim(pod: Mapping[str, Any], binding: Binding, settings: Settings, *, waits: bool = False) -> Body:
    """The pod with the shim. Raises UsageError: it cannot be restored, and the message says why.

    Args:
        pod: The pod.
        binding: What it starts from, which may not be there yet.
        settings: The operator's.
        waits: It is not to be scheduled before the operator says so.
    """
    spec = pod.get("spec") or {}
    for field in ("shareProcessNamespace", "hostPID"):
        if spec.get(field):
            raise UsageError(f"spec.{field} is set: a worker is restored into a PID namespace of its own")
    checkpoint = binding.found
    if checkpoint is not None and checkpoint.phase == names.Phase.FAILED:
        raise UsageError(f"checkpoint {binding.name} is Failed: {checkpoint.status.message or 'no reason given'}")
    if not is_pod_label(binding.name):
        raise UsageError(f"checkpoint {binding.name} has a name that is no label: pods cannot refer to it")
    injection = Injection(binding.name, binding.identity_hash, settings.storage_type, settings.base_path)
    target = inject_target(pod, injection, recorded_command(checkpoint) if checkpoint is not None else ())
    if waits and not spec.get("nodeName"):
        # A pod that has its node already, no scheduler could hold back.
        target["spec"]["schedulingGates"] = [*(spec.get("schedulingGates") or ()), {"name": names.SCHEDULING_GATE}]
    return target


def recorded_command(checkpoint: Checkpoint) -> Sequence[str]:
    """The command that was captured; before the capture, that of the pod template; empty when neither says.

    Records hold no secrets: a command line that lost one cannot be run, and the template's is taken.
    """
    artifact = checkpoint.status.artifact
    argv = artifact.compatibility.argv if artifact is not None else None
    if argv and not any(names.MASK in word for word in argv):
        return argv
    try:
        return original_command(worker_container(checkpoint.job.pod_template_spec) or {})
    except UsageError:
        return ()


def untouched(pod: Mapping[str, Any], why: str) -> Body:
    """The pod as its user wrote it, with a note why it has no shim: whoever made it may not show warnings."""
    noted = deepcopy(dict(pod))
    metadata = noted.setdefault("metadata", {})
    metadata["annotations"] = (metadata.get("annotations") or {}) | {names.ANNOTATION_UNTOUCHED: why}
    return noted


def reason(error: Exception) -> str:
    """An error as the note's text."""
    return words(error) if isinstance(error, UsageError) else str(error)
