"""Which webhooks a write concerns."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kubectl_chrek.local.apiserver.admission.conditions import holds
from kubectl_chrek.local.apiserver.admission.configuration import Operation, Webhook
from kubectl_chrek.local.apiserver.call import Call
from kubectl_chrek.local.apiserver.kinds import NAMESPACES
from kubectl_chrek.local.apiserver.objects import Body, dig
from kubectl_chrek.local.apiserver.store import Store


@dataclass(frozen=True, slots=True)
class Write:
    """A write as webhooks are asked about it."""

    call: Call
    operation: Operation
    new: Body | None
    old: Body | None


def webhooks(store: Store, resource: str) -> Iterator[Webhook]:
    """All webhooks of one sort, in the order in which they are called."""
    for configuration in sorted(store.objects(resource, ""), key=lambda body: str(body["metadata"]["name"])):
        yield from map(Webhook, configuration.get("webhooks") or ())


def may_concern(hook: Webhook, call: Call, operation: Operation) -> bool:
    """Whether its rules name this kind and operation."""
    return any(_rule(rule, call, operation) for rule in hook.body.get("rules") or ())


def concerns(hook: Webhook, write: Write, store: Store) -> bool:
    """Whether its rules, selectors and conditions ask for this write."""
    if not may_concern(hook, write.call, write.operation) or not _namespace(hook, write, store):
        return False
    objects = [body for body in (write.new, write.old) if body is not None]
    if not any(selected(hook.body["objectSelector"], dig(body, "metadata", "labels") or {}) for body in objects):
        return False
    return all(holds(condition["expression"], write.new) for condition in hook.body.get("matchConditions") or ())


def selected(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a LabelSelector takes these labels; an empty one takes all."""
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    return all(_expression(term, labels) for term in selector.get("matchExpressions") or ())


def _expression(term: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    key, values = term["key"], term.get("values") or ()
    match term["operator"]:
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case _:
            return key not in labels


def _rule(rule: Mapping[str, Any], call: Call, operation: Operation) -> bool:
    kind = call.kind
    scope = "Namespaced" if kind.namespaced else "Cluster"
    return (
        _named(rule.get("operations"), operation)
        and _named(rule.get("apiGroups"), kind.group)
        and _named(rule.get("apiVersions"), kind.version)
        and rule.get("scope", "*") in ("*", scope)
        and any(_resource(item, kind.plural, call.subresource) for item in rule.get("resources") or ())
    )


def _named(items: Iterable[str] | None, wanted: str) -> bool:
    found = tuple(items or ())
    return "*" in found or wanted in found


def _resource(item: str, plural: str, subresource: str) -> bool:
    name, _, below = item.partition("/")
    return name in ("*", plural) and (below in ("*", subresource) if below else not subresource)


def _namespace(hook: Webhook, write: Write, store: Store) -> bool:
    selector = hook.body["namespaceSelector"]
    if write.call.kind.resource == NAMESPACES.resource:
        space: Body | None = write.new or write.old
    elif write.call.kind.namespaced:
        space = store.get(NAMESPACES.resource, "", write.call.namespace)
    else:
        return True
    return selected(selector, dig(space, "metadata", "labels") or {})
