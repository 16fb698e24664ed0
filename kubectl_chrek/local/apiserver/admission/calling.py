"""One webhook, called over HTTPS."""

import base64
import json
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import aiohttp

from kubectl_chrek.local.apiserver.admission.configuration import Webhook
from kubectl_chrek.local.apiserver.admission.matching import Write, selected
from kubectl_chrek.local.apiserver.admission.review import Verdict, WebhookError, question, read_answer
from kubectl_chrek.local.apiserver.kinds import PODS
from kubectl_chrek.local.apiserver.objects import Body, dig
from kubectl_chrek.local.apiserver.store import Store

_LARGEST_ANSWER: Final = 3 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Target:
    """Where a webhook is: the URL to connect to, the URL as people know it, and the name in its certificate."""

    url: str
    shown: str
    hostname: str | None


async def ask(hook: Webhook, write: Write, store: Store) -> Verdict:
    """The webhook's verdict. Raises WebhookError."""
    asked = question(write)
    target = _target(hook, store)
    shown = f"{target.shown}?timeout={hook.seconds}s"
    try:
        context = _trust(hook)
        limit = aiohttp.ClientTimeout(total=hook.seconds)
        async with (
            aiohttp.ClientSession(timeout=limit) as session,
            session.post(
                f"{target.url}?timeout={hook.seconds}s", json=asked, ssl=context, server_hostname=target.hostname
            ) as response,
        ):
            data = await response.content.read(_LARGEST_ANSWER)
            if response.status != 200:
                raise WebhookError(f"an error on the server ({data[:200].decode(errors='replace')!r}) has prevented the request")
        return read_answer(hook.name, asked, json.loads(data))
    except TimeoutError as error:
        raise WebhookError(f'Post "{shown}": context deadline exceeded') from error
    except (aiohttp.ClientError, ssl.SSLError, OSError) as error:
        raise WebhookError(f'Post "{shown}": {error}') from error
    except ValueError as error:
        raise WebhookError(f"couldn't decode the webhook's response: {error}") from error


def _trust(hook: Webhook) -> ssl.SSLContext:
    bundle = (hook.body.get("clientConfig") or {}).get("caBundle")
    return ssl.create_default_context(cadata=base64.b64decode(bundle).decode() if bundle else None)


def _target(hook: Webhook, store: Store) -> _Target:
    client = hook.body["clientConfig"]
    if client.get("url"):
        return _Target(client["url"], client["url"], None)
    service = client["service"]
    hostname, path = f"{service['name']}.{service['namespace']}.svc", "/" + str(service.get("path") or "").lstrip("/")
    address = next(_endpoints(service, store), "")
    if not address:
        raise WebhookError(f'no endpoints available for service "{service["name"]}"')
    return _Target(f"https://{address}{path}", f"https://{hostname}:{service['port']}{path}", hostname)


def _endpoints(reference: Body, store: Store) -> Iterator[str]:
    """Addresses of the ready pods behind a service: this machine has no cluster network that would find them."""
    service = store.get("services", reference["namespace"], reference["name"])
    if service is None:
        raise WebhookError(f'service "{reference["name"]}" not found')
    ports = [port for port in dig(service, "spec", "ports") or () if port["port"] == reference["port"]]
    labels = dig(service, "spec", "selector")
    for pod in store.objects(PODS.resource, reference["namespace"]) if ports and labels else ():
        conditions = dig(pod, "status", "conditions") or ()
        ready = any(item["type"] == "Ready" and item["status"] == "True" for item in conditions)
        if ready and dig(pod, "status", "podIP") and selected({"matchLabels": labels}, dig(pod, "metadata", "labels") or {}):
            yield f"{pod['status']['podIP']}:{_number(ports[0]['targetPort'], pod)}"


def _number(port: int | str, pod: Body) -> int:
    if isinstance(port, int):
        return port
    declared = (item for container in pod["spec"]["containers"] for item in container.get("ports") or ())
    return next((int(item["containerPort"]) for item in declared if item.get("name") == port), 443)
