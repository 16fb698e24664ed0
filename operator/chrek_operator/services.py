"""What to do about one service of a graph in mode own: its Deployment and its checkpoint. Pure: from what is seen to a plan."""

from dataclasses import dataclass, field
from typing import Any

from chrek_operator.actions import Action, Create, Delete, Ensure, Patch, Provide, Replace, Tell
from chrek_operator.binding import Binding, awaited, bind, read_block, usable
from chrek_operator.checkpoints import ON_LOSS
from chrek_operator.claims import service_claims
from chrek_operator.deployments import deployment_body, deployment_name, is_current, replacement
from chrek_operator.injection import Injection, inject_target
from chrek_operator.objects import check_label, controlled_by, is_deleting
from chrek_operator.outcome import words
from chrek_operator.settings import Settings
from chrek_operator.shim import shim_config_map
from kubectl_chrek.api import names
from kubectl_chrek.api.errors import UsageError
from kubectl_chrek.api.graph import ServiceCheckpoint
from kubectl_chrek.api.identity import Identity
from kubectl_chrek.api.names import Reason
from kubectl_chrek.api.rendering import render_pod_template
from kubectl_chrek.cluster.resources import CHECKPOINTS, CLAIMS, CONFIG_MAPS, DEPLOYMENTS

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Around:
    """What a graph's planner knows of the graph's namespace."""

    checkpoints: tuple[Body, ...] = ()
    deployments: tuple[Body, ...] = ()
    """The graph's own, and whatever else has the name of one."""
    pods: tuple[Body, ...] = ()
    """Those that the platform has made of the graph, in mode integrate."""

    def deployment(self, name: str) -> Body | None:
        """The Deployment of this name."""
        return next((found for found in self.deployments if found["metadata"]["name"] == name), None)


@dataclass(slots=True)
class ServicePlan:
    """What to do for one service, and what to say about it."""

    service: str
    deployment: str = ""
    actions: list[Action] = field(default_factory=list)
    binding: Binding | None = None
    reason: str = ""
    """Of the error, else of the note: a reason for an Event."""
    error: str = ""
    """The user has to change something: the graph's state is failed."""
    note: str = ""
    """Something is missing that may still come."""
    needs_pod: bool = False
    """Its checkpoint is created when there is a pod to make it from."""

    def fail(self, reason: str, message: str) -> None:
        """Keeps the first error."""
        if not self.error:
            self.reason, self.error = reason, message


def plan_service(graph: Body, service: str, around: Around, settings: Settings) -> ServicePlan:
    """The next step of one service; whatever is wrong with its checkpoint, its pods start, if cold."""
    plan = ServicePlan(service)
    spec = graph["spec"]["services"][service] or {}
    if not ((spec.get("extraPodSpec") or {}).get("mainContainer") or {}).get("image"):
        plan.reason, plan.note = "NoImage", f"spec.services.{service}.extraPodSpec.mainContainer: no image is given"
        return plan
    try:
        name = deployment_name(graph["metadata"]["name"], service)
    except UsageError as error:
        plan.fail("InvalidService", words(error))
        return plan
    present = around.deployment(name)
    template = _template(graph, plan, around, present, settings)
    plan.deployment = name
    if present is not None and not controlled_by(present, graph):
        plan.fail("DeploymentConflict", f"Deployment {name} exists and is not this graph's: delete it, or rename the service")
    elif template is not None:
        try:
            _deploy(graph, plan, present, template)
        except UsageError as error:
            plan.fail("InvalidService", words(error))
    return plan


def _template(graph: Body, plan: ServicePlan, around: Around, present: Body | None, settings: Settings) -> Body | None:
    """The service's pod template, with the shim if there is a checkpoint block; None: the Deployment stays as it is."""
    service = plan.service
    try:
        block = read_block(graph, service)
        if block is not None:
            return _target(graph, plan, block, around, present, settings)
    except UsageError as error:
        if plan.reason != Reason.CHECKPOINT_NOT_FOUND:
            plan.fail(Reason.INVALID_CHECKPOINT, words(error))
        if present is not None and names.LABEL_RESTORE in (present["spec"]["template"]["metadata"].get("labels") or {}):
            # Workers that can restore are not rolled out for a slip of the pen.
            return None
    try:
        return render_pod_template(graph, service, needs_command=False)
    except UsageError as error:
        plan.fail("InvalidService", words(error))
        return None


def _target(
    graph: Body, plan: ServicePlan, block: ServiceCheckpoint, around: Around, present: Body | None, settings: Settings
) -> Body:
    """The pod template with the shim. Raises UsageError."""
    template = present["spec"]["template"] if present is not None else None
    binding = plan.binding = bind(block, usable(around.checkpoints), template)
    if binding.found is None and block.ref:
        message = f"service {block.service}: DynamoCheckpoint {block.ref} does not exist; its pods start cold until it is Ready"
        plan.reason, plan.note = Reason.CHECKPOINT_NOT_FOUND, message
    rendered = render_pod_template(graph, block.service, defaults=binding.template)
    injection = Injection(binding.name, binding.identity_hash, settings.storage_type, settings.base_path)
    target = inject_target(rendered, injection)
    if binding.found is None and block.identity is not None and block.creates:
        create_checkpoint(graph, plan, block.identity, around, rendered)
    return target


def create_checkpoint(graph: Body, plan: ServicePlan, identity: Identity, around: Around, rendered: Body) -> None:
    """Mode auto: a checkpoint named by its hash and owned by nobody, so that others share it and it outlives the graph.

    Raises:
        UsageError: Another checkpoint has that name.
    """
    name = identity.hash
    taken = next((body for body in around.checkpoints if body["metadata"]["name"] == name), None)
    if taken is not None and is_deleting(taken):
        plan.reason, plan.note = (
            Reason.CHECKPOINT_NOT_FOUND,
            f"DynamoCheckpoint {name} is being deleted; it is created anew after that",
        )
        return
    if taken is not None:
        message = f"DynamoCheckpoint {name} has another identity than its name says"
        raise UsageError(message, hint="delete it, or refer to a checkpoint by checkpointRef")
    labels = {
        names.LABEL_GRAPH: check_label(graph["metadata"]["name"], "the graph's name"),
        names.LABEL_COMPONENT: plan.service,
        names.LABEL_HASH: name,
    }
    template = {**rendered, "spec": {**rendered["spec"], "restartPolicy": "Never"}}
    body = {
        "apiVersion": names.API_VERSION,
        "kind": names.CHECKPOINT_KIND,
        "metadata": {"name": name, "labels": labels},
        "spec": {"identity": identity.to_spec(), "recreatePolicy": ON_LOSS, "job": {"podTemplateSpec": template}},
    }
    message = f"created DynamoCheckpoint {name} for service {plan.service}"
    told = Tell(graph, Reason.CHECKPOINT_CREATED, message, str(graph["metadata"].get("generation", 0)))
    plan.actions += [Create(CHECKPOINTS, body), told]


def _deploy(graph: Body, plan: ServicePlan, present: Body | None, template: Body) -> None:
    wanted = deployment_body(graph, plan.service, template)
    plan.actions += [Provide(CLAIMS, claim) for claim in service_claims(graph, plan.service)]
    if _holds(graph, plan, present):
        _scale(plan, present, wanted)
        return
    if plan.binding is not None:
        plan.actions.append(Ensure(CONFIG_MAPS, shim_config_map()))
    if present is None:
        plan.actions.append(Create(DEPLOYMENTS, wanted))
    elif is_deleting(present):
        return
    elif present["spec"]["selector"] != wanted["spec"]["selector"]:
        # A service renamed in case only: selectors cannot be changed.
        plan.actions.append(Delete(DEPLOYMENTS, plan.deployment, present["metadata"]["uid"]))
    elif not is_current(present, wanted):
        plan.actions.append(Replace(DEPLOYMENTS, replacement(present, wanted)))


def _holds(graph: Body, plan: ServicePlan, present: Body | None) -> bool:
    """The service waits for its checkpoint, which may still become Ready: pods that serve from another one go on doing so."""
    block = read_block(graph, plan.service) if plan.binding else None
    if plan.binding is None or block is None or not awaited(block, plan.binding):
        return False
    found = plan.binding.found
    labels = ((present or {}).get("spec") or {}).get("template", {}).get("metadata", {}).get("labels") or {}
    if labels.get(names.LABEL_NAME) == plan.binding.name:
        return False
    phase = found.phase if found is not None else "not there yet"
    plan.note = plan.note or f"service {plan.service} waits for DynamoCheckpoint {plan.binding.name}, which is {phase}"
    return True


def _scale(plan: ServicePlan, present: Body | None, wanted: Body) -> None:
    """All that changes while a service waits is the number of its pods."""
    replicas = wanted["spec"].get("replicas")
    if present is None or replicas is None or present["spec"].get("replicas", 1) == replicas or is_deleting(present):
        return
    version = {"resourceVersion": present["metadata"]["resourceVersion"]}
    plan.actions.append(Patch(DEPLOYMENTS, plan.deployment, {"metadata": version, "spec": {"replicas": replicas}}))
