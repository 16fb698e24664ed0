"""What is wrong with an object that somebody wants to write, in words that say what to do. Pure.

The definitions' schemas come first; this says what they cannot. Writes that leave the spec alone are never refused.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from chrek_operator.admission.review import Answer, Question
from chrek_operator.binding import multinode_flaw
from chrek_operator.deployments import deployment_name
from chrek_operator.injection import original_command
from chrek_operator.jobs import job_body
from chrek_operator.objects import check_name, is_deleting, is_hash
from chrek_operator.outcome import flaws, words
from chrek_operator.policies import read_retention
from chrek_operator.settings import Settings
from kubectl_chrek.api import names
from kubectl_chrek.api.checkpoint import Checkpoint, read_checkpoint
from kubectl_chrek.api.errors import IdentityError, UsageError
from kubectl_chrek.api.graph import read_service_checkpoint
from kubectl_chrek.api.rendering import render_pod_template

Body = dict[str, Any]


def is_due(question: Question) -> bool:
    """The spec is new or changed, and the object is not on its way out."""
    return not is_deleting(question.new) and question.new.get("spec") != (question.old.get("spec") if question.old else None)


def validate(question: Question, checkpoints: Sequence[Checkpoint], settings: Settings) -> Answer:
    """The answer about an object.

    Args:
        question: What is to be written.
        checkpoints: Those of its namespace, or none when nobody knows: warnings are made of them, never refusals.
        settings: The operator's.
    """
    if not is_due(question):
        return Answer()
    try:
        match question.kind:
            case names.CHECKPOINT_KIND:
                return Answer(warnings=tuple(_checkpoint(question.new, checkpoints, settings)))
            case names.GRAPH_KIND:
                return Answer(warnings=tuple(_graph(question.new, checkpoints, settings)))
            case names.POLICY_KIND:
                read_retention(question.new)
    except UsageError as error:
        return Answer(refusal=words(error))
    except ValidationError as error:
        return Answer(refusal=flaws(error))
    return Answer()


def _checkpoint(body: Body, checkpoints: Sequence[Checkpoint], settings: Settings) -> Iterator[str]:
    """Warnings about a checkpoint. Raises UsageError for one that can never become Ready."""
    # An object in the making may have no UID yet, which its Job would have to name.
    metadata = {"uid": "", "name": body["metadata"].get("generateName", "")} | body["metadata"]
    checkpoint = read_checkpoint(body | {"metadata": metadata})
    identity_hash = checkpoint.hash
    _check_template(checkpoint.job.pod_template_spec)
    job_body(body | {"metadata": metadata}, checkpoint, settings)
    name = checkpoint.metadata.name
    if is_hash(name) and name != identity_hash:
        yield f"the identity's hash is {identity_hash}, not {name}: lookups by identity go by {identity_hash}"
    for other in checkpoints:
        if _hash(other) == identity_hash and other.metadata.name != name:
            yield f"DynamoCheckpoint {other.metadata.name} has this identity already ({other.phase}): refer to it by checkpointRef"


def _check_template(template: Mapping[str, Any]) -> None:
    where = "spec.job.podTemplateSpec.spec.containers"
    containers = (template.get("spec") or {}).get("containers") or []
    if not isinstance(containers, list) or not all(isinstance(container, Mapping) for container in containers):
        raise UsageError(f"{where}: expected a list of containers")
    for index, container in enumerate(containers):
        for field in ("name", "image"):
            if not container.get(field):
                raise UsageError(f"{where}[{index}].{field}: is required")


def _graph(body: Body, checkpoints: Sequence[Checkpoint], settings: Settings) -> Iterator[str]:
    """Warnings about a graph's checkpoint blocks. Raises UsageError with all that is wrong with them."""
    wrong: list[str] = []
    known = {checkpoint.metadata.name for checkpoint in checkpoints}
    templates = {checkpoint.metadata.name: checkpoint for checkpoint in checkpoints}
    for service, spec in ((body.get("spec") or {}).get("services") or {}).items():
        try:
            block = read_service_checkpoint(service, spec or {})
            if block is None:
                continue
            if block.ref:
                check_name(block.ref)
            if settings.mode == "own":
                deployment_name(body["metadata"].get("name") or body["metadata"].get("generateName", ""), service)
                _check_worker(body, service, templates.get(block.ref))
        except UsageError as error:
            wrong.append(words(error))
            continue
        if flaw := multinode_flaw(service, spec or {}):
            yield f"{flaw}: they start cold"
        if block.ref and block.ref not in known:
            yield f"service {service}: there is no DynamoCheckpoint {block.ref} yet: its pods start cold until it is Ready"
    if wrong:
        raise UsageError("; ".join(wrong))


def _check_worker(body: Body, service: str, referred: Checkpoint | None) -> None:
    """Raises UsageError for a worker that the shim could not wrap; without an image there is nothing to start yet."""
    spec = body["spec"]["services"][service] or {}
    main = (spec.get("extraPodSpec") or {}).get("mainContainer") or {}
    if not main.get("image") or ((spec.get("checkpoint") or {}).get("checkpointRef") and referred is None):
        return
    template = render_pod_template(body, service, defaults=referred.job.pod_template_spec if referred else None)
    original_command(template["spec"]["containers"][0])


def _hash(checkpoint: Checkpoint) -> str:
    try:
        return checkpoint.hash
    except IdentityError:
        return ""
