"""The hooks of the built-in kinds: defaults, what creation sets, validation."""

from collections.abc import Mapping
from typing import Final

from kubectl_chrek.local.apiserver.admission.configuration import check_configuration, fill_configuration
from kubectl_chrek.local.apiserver.builtins import basics, jobs, podchecks, poddefaults, workloads
from kubectl_chrek.local.apiserver.builtins.strategy import Strategy
from kubectl_chrek.local.apiserver.definitions import begin_definition, check_definition, fill_definition
from kubectl_chrek.local.apiserver.kinds import Kind

_PLAIN: Final = Strategy()
_WEBHOOKS: Final = Strategy(fill_configuration, check=check_configuration)
_STRATEGIES: Final[Mapping[str, Strategy]] = {
    "configmaps": Strategy(check=basics.check_config_map),
    "cronjobs.batch": Strategy(jobs.fill_cron_job, workloads.begin_workload, jobs.check_cron_job),
    "customresourcedefinitions.apiextensions.k8s.io": Strategy(fill_definition, begin_definition, check_definition),
    "daemonsets.apps": Strategy(workloads.fill_daemon_set, workloads.begin_workload, workloads.check_workload),
    "deployments.apps": Strategy(workloads.fill_deployment, workloads.begin_workload, workloads.check_workload),
    "events": Strategy(check=basics.check_event),
    "jobs.batch": Strategy(jobs.fill_job, jobs.begin_job, jobs.check_job),
    "mutatingwebhookconfigurations.admissionregistration.k8s.io": _WEBHOOKS,
    "validatingwebhookconfigurations.admissionregistration.k8s.io": _WEBHOOKS,
    "leases.coordination.k8s.io": Strategy(check=basics.check_lease),
    "namespaces": Strategy(begin=basics.begin_namespace),
    "persistentvolumeclaims": Strategy(begin=basics.begin_claim, check=basics.check_claim),
    "pods": Strategy(poddefaults.fill_pod, poddefaults.begin_pod, podchecks.check_pod),
    "replicasets.apps": Strategy(workloads.fill_replica_set, workloads.begin_replicated, workloads.check_workload),
    "secrets": Strategy(basics.fill_secret, check=basics.check_secret),
    "services": Strategy(basics.fill_service, basics.begin_service, basics.check_service),
    "statefulsets.apps": Strategy(workloads.fill_stateful_set, workloads.begin_replicated, workloads.check_workload),
}


def strategy(kind: Kind) -> Strategy:
    """The hooks of a kind."""
    return _STRATEGIES.get(kind.resource, _PLAIN)
