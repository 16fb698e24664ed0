"""Which server, and as whom: a kubeconfig in all its forms, a pod's service account, and flags that override them."""

import logging
import os
from dataclasses import dataclass
from typing import Final

import yaml
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.config import ConfigException, load_incluster_config
from kubernetes.aio.config.kube_config import KubeConfigLoader, KubeConfigMerger
from multidict import CIMultiDict

_DEFAULT: Final = "~/.kube/config"
# It warns of a file that is not there, which in a pod is no news; where there has to be one, we say so ourselves.
logging.getLogger("kubernetes.aio.config.kube_config").setLevel(logging.ERROR)


@dataclass(frozen=True, slots=True)
class Overrides:
    """kubectl's flags that win over a kubeconfig; empty ones do not."""

    cluster: str = ""
    user: str = ""
    server: str = ""
    token: str = ""
    impersonate: str = ""
    groups: tuple[str, ...] = ()

    @property
    def headers(self) -> CIMultiDict[str]:
        """What a request must carry to be made as somebody else."""
        found: CIMultiDict[str] = CIMultiDict()
        if self.impersonate:
            found.add("Impersonate-User", self.impersonate)
        for group in self.groups:
            found.add("Impersonate-Group", group)
        return found


async def load(configuration: Configuration, kubeconfig: str | None, context: str | None, overrides: Overrides) -> str:
    """Fills in server and credentials; returns the namespace they come with.

    Raises:
        ConfigException: There are none, or something that is named is not there.
    """
    given = kubeconfig or os.environ.get("KUBECONFIG") or ""
    path = given or _DEFAULT
    try:
        merged = KubeConfigMerger(path)
    except yaml.YAMLError as error:
        raise ConfigException(f"{path} is not valid YAML") from error
    if not merged.config and given:
        raise ConfigException(f"{given} is not there, or is empty")
    namespace = "default"
    if merged.config:
        namespace = await _load_file(configuration, merged, path, context, overrides)
    elif "KUBERNETES_SERVICE_HOST" in os.environ:
        load_incluster_config(client_configuration=configuration)
    elif not overrides.server:
        raise ConfigException(f"there is no {path}, and this is no pod")
    if overrides.server:
        configuration.host = overrides.server
    if overrides.token:
        configuration.api_key["BearerToken"] = f"Bearer {overrides.token}"
        configuration.refresh_api_key_hook = None
    return namespace


async def _load_file(
    configuration: Configuration, merged: KubeConfigMerger, path: str, context: str | None, overrides: Overrides
) -> str:
    config = merged.config
    if context and not config["contexts"].get_with_name(context, safe=True):
        raise ConfigException(f"there is no context {context} in {path}")
    chosen = context or config["current-context"]
    entry = config["contexts"].get_with_name(chosen)["context"]
    for kind, name in (("cluster", overrides.cluster), ("user", overrides.user)):
        if name and not config[f"{kind}s"].get_with_name(name, safe=True):
            raise ConfigException(f"there is no {kind} {name} in {path}")
        if name:
            entry.value[kind] = name
    await KubeConfigLoader(config_dict=config, config_base_path=None, active_context=chosen).load_and_set(configuration)
    return str(entry.safe_get("namespace") or "default")


def context_names(kubeconfig: str | None = None) -> list[str]:
    """Names of the contexts in a kubeconfig (argument, KUBECONFIG, ~/.kube/config); none where there is no such file."""
    merged = KubeConfigMerger(kubeconfig or os.environ.get("KUBECONFIG") or _DEFAULT)
    return sorted(str(context["name"]) for context in merged.config["contexts"]) if merged.config else []
