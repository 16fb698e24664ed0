"""Deployment, ReplicaSet, StatefulSet and DaemonSet."""

from kubectl_chrek.local.apiserver.builtins.podchecks import check_template
from kubectl_chrek.local.apiserver.builtins.poddefaults import fill_template
from kubectl_chrek.local.apiserver.failures import Flaw, invalid, required, unsupported
from kubectl_chrek.local.apiserver.objects import Body, dig


def fill_deployment(body: Body) -> None:
    """Defaults of a Deployment, in place."""
    spec = body.get("spec")
    if not isinstance(spec, dict):
        return
    _fill_replicas(spec)
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("progressDeadlineSeconds", 600)
    strategy = spec.setdefault("strategy", {})
    strategy.setdefault("type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxSurge", "25%")
        rolling.setdefault("maxUnavailable", "25%")
    fill_template(body)


def fill_replica_set(body: Body) -> None:
    """Defaults of a ReplicaSet, in place."""
    if isinstance(body.get("spec"), dict):
        _fill_replicas(body["spec"])
        fill_template(body)


def fill_stateful_set(body: Body) -> None:
    """Defaults of a StatefulSet, in place."""
    spec = body.get("spec")
    if not isinstance(spec, dict):
        return
    _fill_replicas(spec)
    spec.setdefault("podManagementPolicy", "OrderedReady")
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("updateStrategy", {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}})
    fill_template(body)


def fill_daemon_set(body: Body) -> None:
    """Defaults of a DaemonSet, in place."""
    spec = body.get("spec")
    if not isinstance(spec, dict):
        return
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("updateStrategy", {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}})
    fill_template(body)


def begin_workload(body: Body) -> None:
    """A new workload has no status yet."""
    body["status"] = {}


def begin_replicated(body: Body) -> None:
    """Nor has a ReplicaSet or StatefulSet, but its count is always there."""
    body["status"] = {"replicas": 0}


def check_workload(new: Body, old: Body | None) -> list[Flaw]:
    """Flaws of any of them."""
    spec = new.get("spec") or {}
    flaws: list[Flaw] = []
    if (spec.get("replicas") or 0) < 0:
        flaws.append(invalid("spec.replicas", spec["replicas"], "must be greater than or equal to 0"))
    selector = spec.get("selector")
    if not selector:
        flaws.append(required("spec.selector"))
    flaws += check_template(new)
    if not flaws and not _selects(selector or {}, dig(spec, "template", "metadata", "labels") or {}):
        shown = dig(spec, "template", "metadata", "labels") or {}
        flaws.append(invalid("spec.template.metadata.labels", shown, "`selector` does not match template `labels`"))
    policy = dig(spec, "template", "spec", "restartPolicy")
    if policy in ("Never", "OnFailure"):
        flaws.append(unsupported("spec.template.spec.restartPolicy", policy, ("Always",)))
    if old is not None and not flaws and selector != old["spec"].get("selector"):
        flaws.append(invalid("spec.selector", selector, "field is immutable"))
    return flaws


def _fill_replicas(spec: Body) -> None:
    if spec.get("replicas") is None:
        spec["replicas"] = 1


def _selects(selector: Body, labels: Body) -> bool:
    for term in selector.get("matchExpressions") or []:
        value = labels.get(term.get("key", ""))
        inside = value in (term.get("values") or [])
        holds = {"In": inside, "NotIn": not inside, "Exists": value is not None, "DoesNotExist": value is None}
        if not holds.get(term.get("operator", "")):
            return False
    return all(labels.get(key) == value for key, value in (selector.get("matchLabels") or {}).items())
