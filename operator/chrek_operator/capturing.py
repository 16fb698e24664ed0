"""A pod of the Dynamo platform as the template of its own capture. Pure.

What the platform adds to a service - its command's wrapper, variables, mounts - is in its pods alone. A source made from one of
them agrees with those that are to be restored; one made from the graph's words would not.
"""

from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from typing import Any, Final

from chrek_operator.injection import OUR_ENV, SHIM_COMMAND, original_command
from chrek_operator.objects import is_deleting
from kubectl_chrek.api import names
from kubectl_chrek.api.rendering import render_pod_template, worker_container

TOKEN_DIR: Final = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105 - a path
_TOKEN_VOLUME: Final = "kube-api-access-"  # noqa: S105 - how the API server names them
_OF_ONE_POD: Final = (
    "nodeName",
    "hostname",
    "subdomain",
    "setHostnameAsFQDN",
    "schedulingGates",
    "ephemeralContainers",
    # What admission has worked out from classes: it does so again, and refuses values that are no longer right.
    "priority",
    "preemptionPolicy",
    "overhead",
)
_QUEUES: Final = ("kai.scheduler/queue", "kueue.x-k8s.io/queue-name", "kueue.x-k8s.io/priority-class")
"""Labels without which some schedulers leave a pod lying."""
_IDENTITY_ANNOTATIONS: Final = "nvidia.com/dyn-"
"""What a worker reads about itself in /etc/podinfo."""
_CHOICES: Final = (names.ANNOTATION_CONTAINER, names.ANNOTATION_ADAPTER, names.ANNOTATION_ACCEPTANCE, names.ANNOTATION_PROBE)
_OUR_VOLUMES: Final = (names.SHIM_VOLUME, names.CONTROL_VOLUME)

Body = dict[str, Any]


def pods_of(pods: Iterable[Body], service: str) -> list[Body]:
    """A service's pods, newest first; some versions of the platform write its name in lower case."""
    found = [pod for pod in pods if _component(pod) == service.lower() and not is_deleting(pod)]
    return sorted(found, key=lambda pod: pod["metadata"].get("creationTimestamp") or "", reverse=True)


def source_template(graph: Mapping[str, Any], service: str, pods: Sequence[Body]) -> Body | None:
    """The pod template for the service's capture; None when no pod shows what the graph says now.

    Args:
        graph: The graph.
        service: One of its services.
        pods: The service's, newest first.

    Raises:
        UsageError: The service has no image, or its pod's worker has no command that could be wrapped.
    """
    rendered = render_pod_template(graph, service, needs_command=False)
    main = graph["spec"]["services"][service]["extraPodSpec"]["mainContainer"]
    words = [str(word) for word in (*(main.get("command") or ()), *(main.get("args") or ()))]
    found = next((pod for pod in pods if _shows(pod, rendered, words)), None)
    return None if found is None else _template(found, rendered)


def _component(pod: Body) -> str:
    return str((pod["metadata"].get("labels") or {}).get(names.LABEL_COMPONENT, "")).lower()


def _shows(pod: Body, rendered: Body, words: Sequence[str]) -> bool:
    """It was made from the graph as it is now. Platforms add to what users write; an older pod would be captured for nothing."""
    worker, wanted = worker_container(pod) or {}, worker_container(rendered) or {}
    line = " ".join(map(str, (*(worker.get("command") or ()), *(worker.get("args") or ()))))
    env = {entry["name"]: entry.get("value") for entry in worker.get("env") or ()}
    plain = {entry["name"]: entry["value"] for entry in wanted.get("env") or () if entry.get("value")}
    return (
        _same_image(str(worker.get("image", "")), str(wanted.get("image", "")))
        and all(word in line for word in words)
        and all(env.get(name) == value for name, value in plain.items())
    )


def _same_image(one: str, other: str) -> bool:
    """But for the registry, and a tag that admission may have turned into a digest."""
    (name, tag), (other_name, other_tag) = _image(one), _image(other)
    return name == other_name and (tag == other_tag or not tag or not other_tag)


def _image(image: str) -> tuple[str, str]:
    name, _, digest = image.rpartition("/")[2].partition("@")
    name, _, tag = name.partition(":")
    return name, tag or ("" if digest else "latest")


def _template(pod: Body, rendered: Body) -> Body:
    """The pod's spec without what is its own alone, and without the shim, which the capture's Job puts in again."""
    spec = {key: deepcopy(value) for key, value in pod["spec"].items() if key not in _OF_ONE_POD}
    found = {"metadata": _metadata(pod, rendered), "spec": spec}
    worker = worker_container(found) or {}
    original_command(worker)
    command = worker.get("command") or []
    if tuple(command[: len(SHIM_COMMAND)]) == SHIM_COMMAND:
        worker["command"] = command[len(SHIM_COMMAND) :]
    worker["env"] = [entry for entry in worker.get("env") or () if entry["name"] not in OUR_ENV]
    if "readinessProbe" not in (worker_container(rendered) or {}):
        # The platform's asks a server that a worker has not started yet when it is ready for its capture.
        worker.pop("readinessProbe", None)
    for container in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ())):
        mounts = container.get("volumeMounts") or ()
        container["volumeMounts"] = [mount for mount in mounts if not _is_injected(mount["name"], mount["mountPath"])]
    spec["volumes"] = [volume for volume in spec.get("volumes") or () if not _is_injected(volume["name"])]
    return found


def _is_injected(volume: str, path: str = TOKEN_DIR) -> bool:
    return volume in _OUR_VOLUMES or (volume.startswith(_TOKEN_VOLUME) and path == TOKEN_DIR)


def _metadata(pod: Body, rendered: Body) -> Body:
    """Labels are the user's own: with the platform's, its Services would send requests to a worker that is being captured."""
    own, labels = rendered["metadata"], pod["metadata"].get("labels") or {}
    annotations = pod["metadata"].get("annotations") or {}
    kept = {key: value for key, value in annotations.items() if key.startswith(_IDENTITY_ANNOTATIONS) or key in _CHOICES}
    queues = {key: labels[key] for key in _QUEUES if key in labels}
    return {"labels": own["labels"] | queues, "annotations": own["annotations"] | kept}
