"""CustomResourceDefinitions: their defaults, validation and conditions."""

from kubectl_chrek.local.apiserver.failures import Flaw, invalid, required, unsupported
from kubectl_chrek.local.apiserver.objects import Body, timestamp
from kubectl_chrek.local.apiserver.schemas.rules import unknown


def fill_definition(body: Body) -> None:
    """Defaults of a CustomResourceDefinition, in place."""
    spec = body.get("spec")
    if not isinstance(spec, dict):
        return
    spec.setdefault("conversion", {"strategy": "None"})
    given = spec.get("names")
    if isinstance(given, dict) and isinstance(given.get("kind"), str):
        given.setdefault("singular", given["kind"].lower())
        given.setdefault("listKind", f"{given['kind']}List")


def begin_definition(body: Body) -> None:
    """What a new definition says before its names are looked at, in place."""
    stored = [version["name"] for version in body["spec"]["versions"] if version.get("storage")]
    body["status"] = {"conditions": None, "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": stored}


def accept_definition(body: Body) -> None:
    """What a definition says once it is served, in place."""
    since = timestamp()

    def condition(kind: str, reason: str, message: str) -> Body:
        return {"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": since}

    body["status"] |= {
        "conditions": [
            condition("NamesAccepted", "NoConflicts", "no conflicts found"),
            condition("Established", "InitialNamesAccepted", "the initial names have been accepted"),
        ],
        "acceptedNames": dict(body["spec"]["names"]),
    }


def check_definition(new: Body, _old: Body | None) -> list[Flaw]:
    """Flaws of a definition; a CEL rule that cannot be checked here is one, instead of being silently ignored."""
    spec = new.get("spec")
    if not isinstance(spec, dict):
        return [required("spec")]
    flaws = [required(f"spec.{key}") for key in ("group", "names", "scope", "versions") if not spec.get(key)]
    if flaws:
        return flaws
    flaws = [required(f"spec.names.{key}") for key in ("plural", "kind") if not spec["names"].get(key)]
    flaws += [required(f"spec.versions[{index}].name") for index, item in enumerate(spec["versions"]) if not item.get("name")]
    wanted = f"{spec['names'].get('plural')}.{spec['group']}"
    if new["metadata"].get("name") != wanted:
        rule = f'must be spec.names.plural+"."+spec.group: {wanted}'
        flaws.append(invalid("metadata.name", new["metadata"].get("name"), rule))
    if spec["scope"] not in ("Namespaced", "Cluster"):
        flaws.append(unsupported("spec.scope", spec["scope"], ("Cluster", "Namespaced")))
    if sum(1 for version in spec["versions"] if version.get("storage")) != 1:
        flaws.append(invalid("spec.versions", "", "must have exactly one version marked as storage version"))
    for index, version in enumerate(spec["versions"]):
        flaws += _version(version, f"spec.versions[{index}].schema")
    return flaws


def _version(version: Body, path: str) -> list[Flaw]:
    schema = (version.get("schema") or {}).get("openAPIV3Schema")
    if not schema:
        return [required(f"{path}.openAPIV3Schema", "schemas are required")]
    if schema.get("type") != "object":
        return [invalid(f"{path}.openAPIV3Schema.type", schema.get("type"), "must be object at the root")]
    why = "this API server has no CEL interpreter and does not know this rule; add it to schemas/rules.py"
    return [invalid(where, rule, why) for where, rule in unknown(schema, f"{path}.openAPIV3Schema")]
