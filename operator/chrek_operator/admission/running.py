"""The webhooks as a whole: certificate, server and configurations, kept in order until cancelled."""

import asyncio
import logging
from dataclasses import replace
from typing import Final

from chrek_operator.admission.keeping import keep_certificate
from chrek_operator.admission.registration import configurations, register
from chrek_operator.admission.server import Webhooks, WebhookServer
from chrek_operator.reconciler import utc_now
from chrek_operator.settings import Settings, Webhook
from kubectl_chrek.api.errors import ChrekError
from kubectl_chrek.cluster import Cluster

LOG: Final = logging.getLogger(__name__)
CHECK_SECONDS: Final = 60.0
RETRY_SECONDS: Final = 2.0


async def run_webhooks(cluster: Cluster, settings: Settings, webhook: Webhook) -> None:
    """Serves, and looks once a minute whether certificate and configurations are as they should be."""
    server = WebhookServer(Webhooks(cluster, settings))
    certificate = b""
    async with server.listen(webhook.address, webhook.port):
        if webhook.port == 0:
            # Only an operator outside of a cluster takes any port, and its URL is to say which.
            webhook = replace(webhook, url=f"{webhook.url}:{server.port}")
        while True:
            try:
                pair = await keep_certificate(cluster, webhook.namespace, webhook.hosts, utc_now())
                if pair.certificate != certificate:
                    server.use(pair)
                    certificate = pair.certificate
                    LOG.info("webhooks are served on port %d", server.port)
                await register(cluster, configurations(settings, webhook, pair.authorities))
            except ChrekError as error:
                LOG.warning("the webhooks are not in order: %s; next try in %.0f s", error, RETRY_SECONDS)
                await asyncio.sleep(RETRY_SECONDS)
                continue
            await asyncio.sleep(CHECK_SECONDS)
