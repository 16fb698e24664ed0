"""The HTTPS server that an API server asks. Whatever goes wrong here, the answer is yes."""

import asyncio
import json
import logging
import ssl
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from chrek_operator.actions import Ensure
from chrek_operator.admission.certificates import Pair
from chrek_operator.admission.lookup import find_checkpoint
from chrek_operator.admission.patching import json_diff
from chrek_operator.admission.pods import read_request, reason, untouched, with_shim
from chrek_operator.admission.registration import MUTATE, VALIDATE
from chrek_operator.admission.review import Answer, Question, read_question, write_answer
from chrek_operator.admission.validation import is_due, validate
from chrek_operator.binding import usable
from chrek_operator.execution import Executor
from chrek_operator.settings import Settings
from chrek_operator.shim import shim_config_map
from kubectl_chrek.api import names
from kubectl_chrek.api.errors import ChrekError
from kubectl_chrek.cluster import Cluster
from kubectl_chrek.cluster.resources import CHECKPOINTS, CONFIG_MAPS

LOG: Final = logging.getLogger(__name__)
DECIDE_SECONDS: Final = 2.0
"""Less than the API server waits: an answer with a reason is better than none."""
LARGEST_BODY: Final = 8 * 1024 * 1024

Body = dict[str, Any]


class Webhooks:
    """Answers an API server's questions."""

    def __init__(self, cluster: Cluster, settings: Settings) -> None:
        self._cluster = cluster
        self._settings = settings
        self._executor = Executor(cluster)

    async def mutate(self, question: Question) -> Answer:
        """A pod: with the shim if it asks for a checkpoint that it can be restored from, else as it is, with the reason."""
        request = read_request(question.new, self._settings) if question.kind == "Pod" else None
        if request is None:
            return Answer()
        try:
            async with asyncio.timeout(DECIDE_SECONDS):
                found = await find_checkpoint(self._cluster, question.namespace, request)
                if found is None:
                    return Answer()
                wanted = with_shim(question.new, found.binding, self._settings, waits=found.waits)
                if not question.dry_run:
                    # A pod that mounts a ConfigMap which is not there would never start.
                    await self._executor.run([Ensure(CONFIG_MAPS, shim_config_map())], question.namespace)
        except (ChrekError, TimeoutError) as error:
            why = reason(error) or f"the API server gave no answer within {DECIDE_SECONDS:g} s"
            LOG.warning("%s: a pod is left as it is: %s", question.namespace, why)
            warning = f"{names.ANNOTATION_RESTORE_FROM}: the pod starts cold: {why}"
            return Answer(patch=json_diff(question.new, untouched(question.new, why)), warnings=[warning])
        return Answer(patch=json_diff(question.new, wanted))

    async def validate(self, question: Question) -> Answer:
        """One of our own objects."""
        if not is_due(question):
            return Answer()
        checkpoints: list[Body] = []
        if question.kind != names.POLICY_KIND:
            try:
                async with asyncio.timeout(DECIDE_SECONDS):
                    checkpoints = await self._cluster.list(CHECKPOINTS, question.namespace)
            except (ChrekError, TimeoutError) as error:
                LOG.warning("%s: no checkpoints could be listed: %s", question.namespace, error)
        return validate(question, usable(checkpoints), self._settings)


class WebhookServer:
    """Serves until its block is left; `use` changes the certificate under way."""

    def __init__(self, webhooks: Webhooks) -> None:
        self._webhooks = webhooks
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.port = 0

    def use(self, pair: Pair) -> None:
        """New connections get this certificate."""
        # Python reads certificates from files only; this one is private, and gone at once.
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory, "server.pem")
            path.touch(mode=0o600)
            path.write_bytes(pair.key + pair.certificate)
            self._context.load_cert_chain(path)

    @asynccontextmanager
    async def listen(self, address: str, port: int) -> AsyncIterator[None]:
        """Port 0 takes any that is free; `port` then says which."""
        app = web.Application(client_max_size=LARGEST_BODY)
        app.router.add_post(MUTATE, _handler(self._webhooks.mutate))
        app.router.add_post(VALIDATE, _handler(self._webhooks.validate))
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, address, port, ssl_context=self._context).start()
            self.port = runner.addresses[0][1]
            yield
        finally:
            await _close(runner)


async def _close(runner: web.AppRunner) -> None:
    """Waits for answers under way; aiohttp would close TLS connections in the background, where the loop may end before that."""
    server = runner.server
    transports = [connection.transport for connection in server.connections] if server is not None else []
    await runner.cleanup()
    for transport in transports:
        if transport is not None:
            transport.abort()
    await asyncio.sleep(0)


def _handler(answer: Callable[[Question], Awaitable[Answer]]) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(request: web.Request) -> web.Response:
        try:
            question = read_question(json.loads(await request.read()))
        except ValueError as error:
            raise web.HTTPBadRequest(text=str(error)) from error
        try:
            found = await answer(question)
        except Exception:
            LOG.exception("%s of a %s in %s: allowed unseen", request.path, question.kind, question.namespace)
            found = Answer(warnings=["kubectl-chrek: the operator failed to look at this object; its log says why"])
        return web.json_response(write_answer(question, found))

    return handle
