"""What the server refuses of a request's options, whether they come in the query or in a body."""

import json
from typing import Any, Final

from kubectl_chrek.local.apiserver.call import Call
from kubectl_chrek.local.apiserver.failures import ApiError, Flaw, bad_request, forbidden, invalid, invalid_options, unsupported
from kubectl_chrek.local.apiserver.objects import Body

_KINDS: Final = {"POST": "CreateOptions", "PUT": "UpdateOptions", "PATCH": "PatchOptions"}
_IN_QUERY: Final = ("propagationPolicy", "gracePeriodSeconds", "orphanDependents", "dryRun")
_POLICIES: Final = ("Foreground", "Background", "Orphan", "nil")
_LEVELS: Final = ("", "Ignore", "Strict", "Warn")


def check_write(method: str, call: Call) -> None:
    """Checks the options of a POST, PUT or PATCH. Raises ApiError (422)."""
    given = call.query.get("dryRun", "")
    flaws = _dry_run([given] if given else [])
    level = call.query.get("fieldValidation", "")
    if level not in _LEVELS:
        flaws.append(unsupported("fieldValidation", level, _LEVELS))
    if flaws:
        raise invalid_options(_KINDS[method], flaws)


def check_read(call: Call) -> None:
    """Checks the options of a list or a watch. Raises ApiError: 400 or 422, and 500 where a watch of a real server has it."""
    version = call.query.get("resourceVersion", "")
    if version and not version.isdecimal():
        why = f'resourceVersion: Invalid value: "{version}": strconv.ParseUint: parsing "{version}": invalid syntax'
        raise ApiError(500, "", why) if call.flag("watch") else bad_request(f"invalid resource version: {why}")
    if call.query.get("resourceVersionMatch") and not version and not call.flag("watch"):
        rule = "resourceVersionMatch is forbidden unless resourceVersion is provided"
        raise invalid_options("ListOptions", [forbidden("resourceVersionMatch", rule)])


def delete_options(call: Call, body: Any) -> Body:
    """The options of a DELETE: those of its body, and only if there is none those of its query. Raises ApiError (400, 422)."""
    options = body or {key: _read(key, call.query[key]) for key in _IN_QUERY if call.query.get(key)}
    if not isinstance(options, dict):
        raise bad_request("DeleteOptions must be an object")
    flaws = _dry_run(options.get("dryRun") or [])
    policy = options.get("propagationPolicy")
    if policy is not None and options.get("orphanDependents") is not None:
        rule = "orphanDependents and deletionPropagation cannot be both set"
        flaws.append(invalid("propagationPolicy", policy, rule))
    elif policy is not None and policy not in _POLICIES:
        flaws.append(unsupported("propagationPolicy", policy, _POLICIES))
    if flaws:
        raise invalid_options("DeleteOptions", flaws)
    return options


def _dry_run(given: list[str]) -> list[Flaw]:
    if set(given) <= {"All"}:
        return []
    return [Flaw("dryRun", "FieldValueNotSupported", f'Unsupported value: {json.dumps(given)}: supported values: "All"')]


def _read(key: str, text: str) -> Any:
    if key == "dryRun":
        return [text]
    if text in ("true", "false"):
        return text == "true"
    return int(text) if text.lstrip("-").isdecimal() else text
