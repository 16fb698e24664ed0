"""kopf as the bringer of news: it watches, and every event becomes the keys of what has to be looked at."""

import asyncio
import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import kopf

from chrek_operator.reconciler import Key, utc_now
from chrek_operator.resync import needs_a_step
from chrek_operator.routes import Routes
from chrek_operator.settings import Settings
from kubectl_chrek.api import names
from kubectl_chrek.api.errors import ClusterError
from kubectl_chrek.cluster import Cluster
from kubectl_chrek.cluster.resources import CHECKPOINTS, DEPLOYMENTS, GRAPHS, JOBS, POLICIES, Resource

LOG: Final = logging.getLogger(__name__)
STOP_SECONDS: Final = 5.0
CLOSE_SECONDS: Final = 0.1
RESTART_SECONDS: Final = 5.0
# kopf would ask for the user's name, which the arbitrary user of a pod does not have. Its own type for this is not public.
_IDENTITY: Final[Any] = names.OPERATOR

Body = dict[str, Any]


class Delivery:
    """kopf in a thread with an event loop of its own: when it ends it cancels every task of its loop, whoever started it."""

    def __init__(self, cluster: Cluster, settings: Settings, routes: Routes, enqueue: Callable[[Key], None]) -> None:
        self._cluster = cluster
        self._settings = settings
        self._routes = routes
        self._enqueue = enqueue

    async def run(self) -> None:
        """Delivers until cancelled. Watches that end are started anew; what they miss meanwhile, the resync finds."""
        while True:
            try:
                await self._deliver()
            except ClusterError as error:
                LOG.warning("%s; starting them anew in %.0f s", error, RESTART_SECONDS)
            await asyncio.sleep(RESTART_SECONDS)

    async def _deliver(self) -> None:
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[None] = loop.create_future()
        stop = threading.Event()
        threading.Thread(target=self._watch, args=(loop, ended, stop), name="kopf", daemon=True).start()
        try:
            await asyncio.shield(ended)
        finally:
            stop.set()
            await asyncio.wait([ended], timeout=STOP_SECONDS)
            if not ended.cancel():
                ended.exception()

    def _watch(self, loop: asyncio.AbstractEventLoop, ended: "asyncio.Future[None]", stop: threading.Event) -> None:
        """The thread."""
        outcome: ClusterError | None
        try:
            asyncio.run(self._operate(loop, stop))
        except BaseException as error:
            outcome = ClusterError(f"the watches ended: {error!r}")
        else:
            outcome = None if stop.is_set() else ClusterError("the watches ended")
        with suppress(RuntimeError):  # The loop is closed: nobody waits any more.
            loop.call_soon_threadsafe(_finish, ended, outcome)

    async def _operate(self, loop: asyncio.AbstractEventLoop, stop: threading.Event) -> None:
        namespaces = self._settings.namespaces
        last: kopf.ConnectionInfo | None = None

        async def login(**_: Any) -> kopf.ConnectionInfo:
            nonlocal last
            before, last = last, await self._credentials()
            if last == before:
                stop.set()  # The server refuses what has not changed, and kopf would go on without any news.
            return last

        await kopf.operator(
            registry=self._registry(loop, login),
            settings=_kopf_settings(),
            clusterwide=not namespaces,
            namespaces=namespaces,
            identity=_IDENTITY,
            stop_flag=stop,
        )
        # aiohttp closes TLS connections in the background, which takes a few rounds of the loop.
        await asyncio.sleep(CLOSE_SECONDS)

    def _registry(self, loop: asyncio.AbstractEventLoop, login: Callable[..., Any]) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()
        kopf.on.login(registry=registry)(login)
        watched = [CHECKPOINTS, JOBS, GRAPHS, POLICIES, *([DEPLOYMENTS] if self._settings.mode == "own" else [])]
        for resource in watched:
            self._listen(registry, resource, loop)
        return registry

    def _listen(self, registry: kopf.OperatorRegistry, resource: Resource, loop: asyncio.AbstractEventLoop) -> None:
        label = {JOBS: names.LABEL_NAME, DEPLOYMENTS: names.LABEL_GRAPH}.get(resource)
        group, _, version = resource.api_version.rpartition("/")

        async def seen(event: kopf.RawEvent, **_: Any) -> None:
            loop.call_soon_threadsafe(self._route, resource, dict(event["object"]), event["type"])

        labels = {label: kopf.PRESENT} if label else None
        kopf.on.event(group, version, resource.plural, registry=registry, labels=labels, id=resource.plural)(seen)

    def _route(self, resource: Resource, body: Body, event: str | None) -> None:
        """An event without a type is of a list, such as the first one: what is at rest in it need not be looked at."""
        if event is None and resource is CHECKPOINTS and not needs_a_step(body, None, utc_now(), self._settings):
            self._routes.keys(resource, body)
            return
        for key in self._routes.keys(resource, body, deleted=event == "DELETED"):
            self._enqueue(key)

    async def _credentials(self) -> kopf.ConnectionInfo:
        """The very ones of our own connection; asked for again whenever the server no longer takes them."""
        configuration = self._cluster.configuration
        token = (await configuration.auth_settings()).get("BearerToken")
        return kopf.ConnectionInfo(
            server=self._cluster.server.rstrip("/"),
            ca_path=configuration.ssl_ca_cert,
            insecure=not configuration.verify_ssl,
            certificate_path=configuration.cert_file,
            private_key_path=configuration.key_file,
            scheme="Bearer" if token else None,
            # A kubeconfig's begins with `Bearer `, a service account's with `bearer `.
            token=str(token["value"]).partition(" ")[2] if token else None,
            proxy_url=configuration.proxy,
        )


def _kopf_settings() -> kopf.OperatorSettings:
    """Kopf watches, and writes nothing: no Events of its own, no peering, and on.event handlers leave no traces."""
    # It would warn that it takes no signals in a thread: they are ours to take.
    logging.getLogger("kopf._core.reactor.running").setLevel(logging.ERROR)
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.peering.standalone = True
    # It would watch all definitions of the cluster, for kinds that come later: the resync finds those without that right.
    settings.scanning.disabled = True
    return settings


def _finish(ended: "asyncio.Future[None]", error: ClusterError | None) -> None:
    if ended.done():
        return
    if error is None:
        ended.set_result(None)
    else:
        ended.set_exception(error)
