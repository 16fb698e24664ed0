"""The certificate's Secret: all operators of a cluster serve with the same one, and whoever finds it old renews it."""

import base64
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from chrek_operator.admission.certificates import Pair, is_good, issue
from kubectl_chrek.api import names
from kubectl_chrek.api.errors import NotFoundError
from kubectl_chrek.cluster import Cluster
from kubectl_chrek.cluster.resources import SECRETS

SECRET: Final = names.WEBHOOK_SECRET
_KEYS: Final = ("tls.crt", "tls.key", "ca.crt")

Body = dict[str, Any]


async def keep_certificate(cluster: Cluster, namespace: str, hosts: Sequence[str], now: datetime) -> Pair:
    """The certificate to serve with, made or renewed if need be.

    Raises:
        ConflictError: Somebody else renews it at this moment: to be tried again.
        ChrekError: The Secret can be neither read nor written.
    """
    try:
        secret = await cluster.get(SECRETS, SECRET, namespace)
    except NotFoundError:
        pair = issue(hosts, now)
        await cluster.create(SECRETS, _secret(pair), namespace)
        return pair
    found = _pair(secret)
    if is_good(found, hosts, now):
        return found
    pair = issue(hosts, now, former=found.authorities)
    version = {"resourceVersion": secret["metadata"]["resourceVersion"]}
    await cluster.patch(SECRETS, SECRET, {"metadata": version, "data": _secret(pair)["data"]}, namespace)
    return pair


def _secret(pair: Pair) -> Body:
    values = zip(_KEYS, (pair.certificate, pair.key, pair.authorities), strict=True)
    return {
        "apiVersion": SECRETS.api_version,
        "kind": SECRETS.kind,
        "type": "kubernetes.io/tls",
        "metadata": {"name": SECRET, "labels": {"app.kubernetes.io/managed-by": names.MANAGER}},
        "data": {key: base64.b64encode(value).decode() for key, value in values},
    }


def _pair(secret: Mapping[str, Any]) -> Pair:
    data = secret.get("data") or {}
    certificate, key, authorities = (base64.b64decode(data.get(name) or "") for name in _KEYS)
    return Pair(certificate, key, authorities)
