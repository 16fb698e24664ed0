"""The Job that starts the worker which is captured."""

from typing import Any, Final

from chrek_operator.injection import Injection, inject_source
from chrek_operator.objects import LABEL_LIMIT, MANAGED_BY, owner_reference
from chrek_operator.settings import Settings
from kubectl_chrek.api import names
from kubectl_chrek.api.checkpoint import Checkpoint
from kubectl_chrek.api.errors import UsageError
from kubectl_chrek.cluster.resources import JOBS

MIN_TTL_SECONDS: Final = 60
"""A finished Job stays at least this long: one that vanished before its end was seen would be made again, for ever."""

Body = dict[str, Any]


def job_body(body: Body, checkpoint: Checkpoint, settings: Settings) -> Body:
    """The Job of a checkpoint.

    Raises:
        UsageError: No Job can be made from it.
    """
    name, job = names.job_name(checkpoint.metadata.name), checkpoint.job
    if len(name) > LABEL_LIMIT:
        longest = LABEL_LIMIT - len(names.JOB_PREFIX)
        raise UsageError(
            f"Job name {name} has {len(name)} characters, more than {LABEL_LIMIT}",
            hint=f"name the DynamoCheckpoint with at most {longest} characters",
        )
    injection = Injection(checkpoint.metadata.name, checkpoint.hash, settings.storage_type, settings.base_path)
    labels = {
        names.LABEL_SOURCE: "true",
        names.LABEL_HASH: checkpoint.hash,
        names.LABEL_NAME: checkpoint.metadata.name,
        MANAGED_BY: names.MANAGER,
    }
    return {
        "apiVersion": JOBS.api_version,
        "kind": JOBS.kind,
        "metadata": {"name": name, "labels": labels, "ownerReferences": [owner_reference(body)]},
        "spec": {
            "activeDeadlineSeconds": job.active_deadline_seconds,
            "backoffLimit": job.backoff_limit,
            "ttlSecondsAfterFinished": max(job.ttl_seconds_after_finished, MIN_TTL_SECONDS),
            "template": inject_source(job.pod_template_spec, injection),
        },
    }
