"""A Kubernetes API server in process, small and strict: what kubectl, kopf, `kubernetes.aio` and our programs use of one."""

from kubectl_chrek.local.apiserver.execution import ExecSource
from kubectl_chrek.local.apiserver.failures import ApiError
from kubectl_chrek.local.apiserver.logs import LogSource
from kubectl_chrek.local.apiserver.server import ApiServer

__all__ = ["ApiError", "ApiServer", "ExecSource", "LogSource"]
