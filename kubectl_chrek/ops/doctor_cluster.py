"""`doctor` about the cluster: definitions, our rights, the operator, claims and the webhook."""

import asyncio
import itertools
from collections.abc import Mapping
from typing import Any, Final

from kubectl_chrek.api import names
from kubectl_chrek.api.crds import load_crds
from kubectl_chrek.api.errors import NotFoundError
from kubectl_chrek.cluster import Cluster, Resource
from kubectl_chrek.cluster.resources import CRDS
from kubectl_chrek.ops.agents import agent_pods
from kubectl_chrek.ops.findings import Finding, fail, ok, warn
from kubectl_chrek.ops.operators import Operator, find_operators

ACCESS_REVIEWS: Final = Resource("authorization.k8s.io/v1", "SelfSubjectAccessReview", "selfsubjectaccessreviews", namespaced=False)
CLAIMS: Final = Resource("v1", "PersistentVolumeClaim", "persistentvolumeclaims")
WEBHOOKS: Final = Resource(
    "admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration", "mutatingwebhookconfigurations", namespaced=False
)
_INSTALL: Final = "helm upgrade --install chrek charts/chrek"
_SUBJECTS: Final = 'exporter.subjects=[{"kind":"User","apiGroup":"rbac.authorization.k8s.io","name":"NAME"}]'
_RIGHTS: Final = (
    (names.GROUP, names.CHECKPOINT_PLURAL, ("get", "list", "watch", "create", "patch", "delete")),
    (names.GROUP, names.GRAPH_PLURAL, ("get", "list")),
    (names.GROUP, names.NODE_PLURAL, ("list",)),
    ("", "pods", ("list", "watch")),
    ("", "pods/log", ("get",)),
    ("", "events", ("list", "watch")),
    ("coordination.k8s.io", "leases", ("list",)),
)
"""What the plugin's commands need; without the first line nothing works."""


async def check_definitions(cluster: Cluster) -> list[Finding]:
    """Ours are installed, served and know all fields that we do."""
    found = await asyncio.gather(*(_check_definition(cluster, definition) for definition in load_crds()))
    return [each for each in found if each] or [ok("crds", "all are installed, and know all fields that this plugin does")]


async def _check_definition(cluster: Cluster, ours: Mapping[str, Any]) -> Finding | None:
    """What is wrong with one; None when nothing is."""
    full = ours["metadata"]["name"]
    name = f"crd/{full}"
    try:
        there = await cluster.get(CRDS, full, "")
    except NotFoundError:
        return fail(name, "is not installed", _INSTALL)
    conditions = (there.get("status") or {}).get("conditions") or ()
    if not any(each["type"] == "Established" and each["status"] == "True" for each in conditions):
        return fail(name, "is not served yet", f"kubectl describe {name}")
    missing = _fields(ours) - _fields(there)
    if missing:
        return warn(name, f"is older than this plugin: it does not know {', '.join(sorted(missing))}", _INSTALL)
    return None


def _fields(definition: Mapping[str, Any]) -> set[str]:
    """The first two levels of an object's fields."""
    version: Mapping[str, Any] = next((each for each in definition["spec"]["versions"] if each["name"] == names.VERSION), {})
    top = ((version.get("schema") or {}).get("openAPIV3Schema") or {}).get("properties") or {}
    return {f"{part}.{field}" for part in ("spec", "status") for field in (top.get(part) or {}).get("properties") or {}}


async def check_access(cluster: Cluster, scope: str) -> list[Finding]:
    """What the user may do."""
    wanted = [(group, resource, verb) for group, resource, verbs in _RIGHTS for verb in verbs]
    answers = await asyncio.gather(*(allowed(cluster, scope, *right) for right in wanted))
    findings = []
    for group, resource, verbs in _RIGHTS:
        missing = [verb for verb in verbs if not answers[wanted.index((group, resource, verb))]]
        name = f"access/{resource}"
        fix = f"ask an administrator; see kubectl auth can-i --list{f' -n {scope}' if scope else ''}"
        if missing and resource == names.CHECKPOINT_PLURAL and {"get", "list"} & set(missing):
            findings.append(fail(name, f"you may not {', '.join(missing)}", fix))
        elif missing:
            findings.append(warn(name, f"you may not {', '.join(missing)}", fix))
    return findings or [ok("access", f"you may do all that the commands need in {scope or 'all namespaces'}")]


async def check_exporting(cluster: Cluster) -> list[Finding]:
    """Whether the user may run commands in agents, as `export`, `import` and `copy` do; most need not."""
    spaces = sorted({pod["metadata"]["namespace"] for pod in await agent_pods(cluster)})
    verbs = ("get", "create")
    answers = await asyncio.gather(*(allowed(cluster, space, "", "pods/exec", verb) for space in spaces for verb in verbs))
    granted = dict(zip(itertools.product(spaces, verbs), answers, strict=True))
    return [
        warn(
            "access/pods/exec",
            f"you may not run commands in the agents of namespace {space}: export, import and copy do not work",
            f"{_INSTALL} -n {space} --reuse-values --set exporter.enabled=true --set-json '{_SUBJECTS}' with your name",
        )
        for space in spaces
        if not all(granted[space, verb] for verb in verbs)
    ]


async def allowed(cluster: Cluster, scope: str, group: str, resource: str, verb: str) -> bool:
    """The user may do this with that resource in a namespace; an empty scope is all of them."""
    plural, _, subresource = resource.partition("/")
    attributes = {"group": group, "resource": plural, "verb": verb} | ({"subresource": subresource} if subresource else {})
    if scope and resource != names.NODE_PLURAL:
        attributes["namespace"] = scope
    body = {
        "apiVersion": ACCESS_REVIEWS.api_version,
        "kind": ACCESS_REVIEWS.kind,
        "spec": {"resourceAttributes": attributes},
    }
    answer = await cluster.create(ACCESS_REVIEWS, body, "")
    return bool((answer.get("status") or {}).get("allowed"))


async def check_operator(cluster: Cluster, version: str) -> list[Finding]:
    """It runs, in our version."""
    found = await find_operators(cluster)
    if not found:
        return [warn("operator", f"there is no deployment {names.OPERATOR} in any namespace", _INSTALL)]
    return [_about_operator(operator, version) for operator in found]


def _about_operator(operator: Operator, version: str) -> Finding:
    if not operator.available:
        fix = f"kubectl describe -n {operator.namespace} deployment {names.OPERATOR}"
        return fail("operator", "none of its pods is available", fix)
    if operator.version not in ("", version):
        return warn("operator", f"it is version {operator.version}, this plugin is {version}", "upgrade whichever is older")
    return ok("operator", f"runs in {operator.namespace}: {operator.image}")


async def check_claims(cluster: Cluster, scope: str) -> list[Finding]:
    """Claims that hold artifacts are bound, and can be mounted by several nodes."""
    try:
        claims = await cluster.list(CLAIMS, scope, fields=f"metadata.name={names.PVC}")
    except NotFoundError:
        return []
    return [_about_claim(claim) for claim in claims]


def _about_claim(claim: Mapping[str, Any]) -> Finding:
    metadata, status = claim["metadata"], claim.get("status") or {}
    name = f"pvc/{metadata['name']}"
    modes = status.get("accessModes") or claim["spec"].get("accessModes") or []
    look = f"kubectl describe -n {metadata.get('namespace', '')} {name}"
    if status.get("phase") != "Bound":
        return fail(name, f"is {status.get('phase') or 'not bound'}", look)
    if "ReadWriteMany" not in modes:
        message = f"can be mounted {', '.join(modes) or 'by nobody'}: restores on other nodes find nothing"
        return warn(name, message, "use a storage class that offers ReadWriteMany")
    size = (status.get("capacity") or {}).get("storage", "of unknown size")
    return ok(name, f"is bound, ReadWriteMany, {size}")


async def check_webhook(cluster: Cluster) -> list[Finding]:
    """If it is installed, the server can call it and does not depend on it."""
    try:
        found = await cluster.list(WEBHOOKS, "")
    except NotFoundError:
        found = []
    ours = [each for each in found if names.MANAGER.removeprefix("kubectl-") in each["metadata"]["name"]]
    if not ours:
        return [ok("webhook", "is not installed: only services of graphs are restored")]
    return [_about_webhook(each, hook) for each in ours for hook in each.get("webhooks") or ()]


def _about_webhook(configuration: Mapping[str, Any], hook: Mapping[str, Any]) -> Finding:
    place = f"mutatingwebhookconfiguration/{configuration['metadata']['name']}"
    if not (hook.get("clientConfig") or {}).get("caBundle"):
        return fail("webhook", f"{hook['name']} has no caBundle: the server cannot trust it", f"kubectl describe {place}")
    if hook.get("failurePolicy") != "Ignore":
        return warn("webhook", f"{hook['name']} fails pods while the operator is away", f"set failurePolicy Ignore in {place}")
    return ok("webhook", f"{hook['name']} is installed")
