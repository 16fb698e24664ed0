"""MutatingWebhookConfiguration and ValidatingWebhookConfiguration: their defaults, their validation, and one webhook read."""

import re
from dataclasses import dataclass
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from kubectl_chrek.local.apiserver.admission.conditions import known
from kubectl_chrek.local.apiserver.failures import Flaw, invalid, required, unsupported
from kubectl_chrek.local.apiserver.objects import Body

Operation = Literal["CREATE", "UPDATE", "DELETE"]

MUTATING: Final = "mutatingwebhookconfigurations.admissionregistration.k8s.io"
VALIDATING: Final = "validatingwebhookconfigurations.admissionregistration.k8s.io"
_NAME: Final = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?){2,}$")
_EFFECTS: Final = ("None", "NoneOnDryRun")
_POLICIES: Final = ("Fail", "Ignore")


@dataclass(frozen=True, slots=True)
class Webhook:
    """One webhook of a stored configuration."""

    body: Body

    @property
    def name(self) -> str:
        """As refusals quote it."""
        return str(self.body["name"])

    @property
    def ignores_failures(self) -> bool:
        """Whether a write goes on when the webhook cannot be called."""
        return bool(self.body["failurePolicy"] == "Ignore")

    @property
    def seconds(self) -> int:
        """How long it may take."""
        return int(self.body["timeoutSeconds"])

    @property
    def reinvoked(self) -> bool:
        """Whether it wants to see what later ones have changed."""
        return bool(self.body.get("reinvocationPolicy") == "IfNeeded")


def fill_configuration(body: Body) -> None:
    """Defaults of a configuration, in place."""
    for hook in body.get("webhooks") or ():
        hook.setdefault("failurePolicy", "Fail")
        hook.setdefault("matchPolicy", "Equivalent")
        hook.setdefault("namespaceSelector", {})
        hook.setdefault("objectSelector", {})
        hook.setdefault("timeoutSeconds", 10)
        if body.get("kind") == "MutatingWebhookConfiguration":
            hook.setdefault("reinvocationPolicy", "Never")
        for rule in hook.get("rules") or ():
            rule.setdefault("scope", "*")
        service = (hook.get("clientConfig") or {}).get("service")
        if service:
            service.setdefault("port", 443)


def check_configuration(new: Body, _old: Body | None) -> list[Flaw]:
    """Flaws of a configuration."""
    flaws: list[Flaw] = []
    seen: set[Any] = set()
    for index, hook in enumerate(new.get("webhooks") or ()):
        where = f"webhooks[{index}]"
        flaws += _hook(hook, where)
        if hook.get("name") in seen:
            flaws.append(Flaw(f"{where}.name", "FieldValueDuplicate", f'Duplicate value: "{hook.get("name")}"'))
        seen.add(hook.get("name"))
    return flaws


def _hook(hook: Body, where: str) -> list[Flaw]:
    flaws: list[Flaw] = []
    if not _NAME.match(str(hook.get("name") or "")):
        rule = "should be a domain with at least three segments separated by dots"
        flaws.append(invalid(f"{where}.name", hook.get("name") or "", rule))
    if hook.get("sideEffects") is None:
        flaws.append(required(f"{where}.sideEffects", f"must specify one of {', '.join(_EFFECTS)}"))
    elif hook["sideEffects"] not in _EFFECTS:
        flaws.append(unsupported(f"{where}.sideEffects", hook["sideEffects"], _EFFECTS))
    if not hook.get("admissionReviewVersions"):
        flaws.append(required(f"{where}.admissionReviewVersions", "must specify one of v1, v1beta1"))
    elif "v1" not in hook["admissionReviewVersions"]:
        rule = "must include at least one of v1, v1beta1"
        flaws.append(invalid(f"{where}.admissionReviewVersions", hook["admissionReviewVersions"], rule))
    if hook["failurePolicy"] not in _POLICIES:
        flaws.append(unsupported(f"{where}.failurePolicy", hook["failurePolicy"], _POLICIES))
    if not 1 <= hook["timeoutSeconds"] <= 30:
        rule = "the timeout value must be between 1 and 30 seconds"
        flaws.append(invalid(f"{where}.timeoutSeconds", hook["timeoutSeconds"], rule))
    flaws += _client(hook.get("clientConfig") or {}, f"{where}.clientConfig")
    for number, condition in enumerate(hook.get("matchConditions") or ()):
        if not known(condition.get("expression") or ""):
            why = "this API server has no CEL interpreter and does not know this expression; add it to admission/conditions.py"
            flaws.append(invalid(f"{where}.matchConditions[{number}].expression", condition.get("expression"), why))
    return flaws


def _client(client: Body, where: str) -> list[Flaw]:
    url, service = client.get("url"), client.get("service")
    if bool(url) == bool(service):
        return [required(where, "exactly one of url or service is required")]
    if service:
        return [required(f"{where}.service.{key}") for key in ("name", "namespace") if not service.get(key)]
    parts = urlsplit(str(url))
    if parts.scheme != "https":
        return [invalid(f"{where}.url", parts.scheme, "'https' is the only allowed URL scheme")]
    return [] if parts.hostname else [invalid(f"{where}.url", url, "host must be specified")]
