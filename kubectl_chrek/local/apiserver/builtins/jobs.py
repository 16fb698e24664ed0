"""Job and CronJob."""

from typing import Any

from kubectl_chrek.local.apiserver.builtins.podchecks import check_template
from kubectl_chrek.local.apiserver.builtins.poddefaults import fill_template
from kubectl_chrek.local.apiserver.failures import Flaw, invalid, required
from kubectl_chrek.local.apiserver.objects import Body, clone, dig

_UID = "controller-uid"
_NAME = "job-name"
_PREFIX = "batch.kubernetes.io/"


def fill_job(body: Body) -> None:
    """Defaults of a Job, in place."""
    spec = body.get("spec")
    if not isinstance(spec, dict):
        return
    if spec.get("completions") is None and spec.get("parallelism") is None:
        spec["completions"] = 1
    spec.setdefault("parallelism", 1)
    spec.setdefault("backoffLimit", 6)
    spec.setdefault("completionMode", "NonIndexed")
    spec.setdefault("suspend", False)
    spec.setdefault("podReplacementPolicy", "Failed" if spec.get("podFailurePolicy") else "TerminatingOrFailed")
    fill_template(body)
    labels = dig(spec, "template", "metadata", "labels")
    if labels and not body["metadata"].get("labels"):
        body["metadata"]["labels"] = dict(labels)


def begin_job(body: Body) -> None:
    """Selector and pod labels that tie pods to this very Job, in place."""
    spec, metadata = body.get("spec"), body["metadata"]
    body["status"] = {}
    template = spec.get("template") if isinstance(spec, dict) else None
    if not isinstance(spec, dict) or not isinstance(template, dict):
        return
    spec.setdefault("manualSelector", False)
    if spec["manualSelector"]:
        return
    del spec["manualSelector"]
    labels = template.setdefault("metadata", {}).setdefault("labels", {})
    for key, value in ((_UID, metadata["uid"]), (_NAME, metadata["name"])):
        labels[key] = labels[_PREFIX + key] = value
    spec["selector"] = {"matchLabels": {_PREFIX + _UID: metadata["uid"]}}
    if not metadata.get("labels"):
        metadata["labels"] = dict(labels)


def check_job(new: Body, old: Body | None) -> list[Flaw]:
    """Flaws of a Job."""
    spec = new.get("spec") or {}
    flaws = check_template(new)
    policy = dig(spec, "template", "spec", "restartPolicy")
    if not flaws and policy not in ("Never", "OnFailure"):
        flaws.append(required("spec.template.spec.restartPolicy", 'valid values: "OnFailure", "Never"'))
    for key in ("parallelism", "completions", "backoffLimit", "activeDeadlineSeconds", "ttlSecondsAfterFinished"):
        value = spec.get(key)
        if value is not None and value < 0:
            flaws.append(invalid(f"spec.{key}", value, "must be greater than or equal to 0"))
    if old is not None and not flaws:
        for key in ("template", "selector", "completionMode", "podFailurePolicy"):
            if _fixed(spec, key) != _fixed(old["spec"], key):
                flaws.append(invalid(f"spec.{key}", "", "field is immutable"))
        if spec.get("completions") != old["spec"].get("completions"):
            flaws.append(invalid("spec.completions", spec.get("completions"), "field is immutable"))
    return flaws


def _fixed(spec: Body, key: str) -> Any:
    """What of a field of a Job's spec can never change; where its pods go can, while it is suspended."""
    value = spec.get(key)
    if key != "template" or not spec.get("suspend"):
        return value
    template = clone(value or {})
    for name in ("labels", "annotations"):
        template.get("metadata", {}).pop(name, None)
    for name in ("nodeSelector", "affinity", "tolerations", "schedulingGates"):
        template.get("spec", {}).pop(name, None)
    return template


def fill_cron_job(body: Body) -> None:
    """Defaults of a CronJob, in place."""
    spec = body.get("spec")
    if not isinstance(spec, dict):
        return
    spec.setdefault("concurrencyPolicy", "Allow")
    spec.setdefault("suspend", False)
    spec.setdefault("successfulJobsHistoryLimit", 3)
    spec.setdefault("failedJobsHistoryLimit", 1)
    fill_template(spec.get("jobTemplate") or {})


def check_cron_job(new: Body, _old: Body | None) -> list[Flaw]:
    """Flaws of a CronJob."""
    if not dig(new, "spec", "schedule"):
        return [required("spec.schedule")]
    return check_template(dig(new, "spec", "jobTemplate") or {}, "spec.jobTemplate.spec.template")
