"""The API server's refusals, worded as Kubernetes words them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kubectl_chrek.local.apiserver.kinds import Kind
from kubectl_chrek.local.apiserver.objects import Body


class ApiError(Exception):
    """A refusal; `status` is the Status object that goes to the client. Some refusals have no reason."""

    def __init__(self, code: int, reason: str, message: str, details: Body | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.status: Body = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
            **({"reason": reason} if reason else {}),
            "code": code,
        }
        if details:
            self.status["details"] = {key: value for key, value in details.items() if value}


@dataclass(frozen=True, slots=True)
class Flaw:
    """One thing wrong with one field of an object; `reason` is a cause of a Status, such as FieldValueInvalid."""

    path: str
    reason: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


def required(path: str, detail: str = "") -> Flaw:
    """The field must be there."""
    return Flaw(path, "FieldValueRequired", f"Required value: {detail}" if detail else "Required value")


def invalid(path: str, value: object, detail: str) -> Flaw:
    """The field's value is wrong."""
    return Flaw(path, "FieldValueInvalid", f"Invalid value: {quote(value)}: {detail}")


def unsupported(path: str, value: object, supported: Sequence[object]) -> Flaw:
    """The field's value is none of those allowed."""
    listed = ", ".join(quote(item) for item in supported)
    return Flaw(path, "FieldValueNotSupported", f"Unsupported value: {quote(value)}: supported values: {listed}")


def forbidden(path: str, detail: str) -> Flaw:
    """The field must not be there, or must not be changed."""
    return Flaw(path, "FieldValueForbidden", f"Forbidden: {detail}")


def duplicate(path: str, value: object) -> Flaw:
    """The value may occur only once in its list."""
    return Flaw(path, "FieldValueDuplicate", f"Duplicate value: {quote(value)}")


def too_many(path: str, found: int, limit: int) -> Flaw:
    """The list or map is too long."""
    return Flaw(path, "FieldValueTooMany", f"Too many: {found}: must have at most {limit} items")


def quote(value: object) -> str:
    """A value as Go prints it in such messages."""
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'"{escaped}"'
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "null"
    return str(value)


def not_found(kind: Kind, name: str) -> ApiError:
    """404 for an object."""
    return ApiError(404, "NotFound", f'{kind.resource} "{name}" not found', _details(kind, name))


def already_exists(kind: Kind, name: str) -> ApiError:
    """409 for a POST of a name that is taken."""
    return ApiError(409, "AlreadyExists", f'{kind.resource} "{name}" already exists', _details(kind, name))


def conflict(kind: Kind, name: str, why: str = "") -> ApiError:
    """409 for a write whose resourceVersion or precondition no longer holds."""
    why = why or "the object has been modified; please apply your changes to the latest version and try again"
    message = f'Operation cannot be fulfilled on {kind.resource} "{name}": {why}'
    return ApiError(409, "Conflict", message, _details(kind, name))


def unmet(kind: Kind, name: str, why: str) -> ApiError:
    """409 for a deletion whose precondition does not hold; unlike a conflict of writes it names the kind."""
    details = {"name": name, "group": kind.group, "kind": kind.kind}
    return ApiError(409, "Conflict", f'Operation cannot be fulfilled on {kind.title} "{name}": {why}', details)


def rejected(kind: Kind, name: str, flaws: Sequence[Flaw]) -> ApiError:
    """422 with one cause for each flaw."""
    texts = [str(flaw) for flaw in flaws]
    listed = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    causes = [{"reason": flaw.reason, "message": flaw.message, "field": flaw.path} for flaw in flaws]
    details = {"name": name, "group": kind.group, "kind": kind.kind, "causes": causes}
    return ApiError(422, "Invalid", f'{kind.title} "{name}" is invalid: {listed}', details)


def invalid_options(kind: str, flaws: Sequence[Flaw]) -> ApiError:
    """422 for the options of a request, such as CreateOptions."""
    return rejected(Kind("meta.k8s.io", "v1", kind, ""), "", flaws)


def bad_request(message: str) -> ApiError:
    """400 for a request that makes no sense, whatever is in the store."""
    return ApiError(400, "BadRequest", message)


def refused(kind: Kind, name: str, why: str, cause: Body | None = None) -> ApiError:
    """403 for a write that the state of the cluster forbids."""
    details = _details(kind, name) | ({"causes": [cause]} if cause else {})
    return ApiError(403, "Forbidden", f'{kind.resource} "{name}" is forbidden: {why}', details)


def expired(message: str) -> ApiError:
    """410 for a resourceVersion that has left the history."""
    return ApiError(410, "Expired", message)


def method_not_allowed() -> ApiError:
    """405 for a verb that the path does not have."""
    return ApiError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")


def unknown_path() -> ApiError:
    """404 for a path that is nothing."""
    return ApiError(404, "NotFound", "the server could not find the requested resource")


class UnknownPageError(ApiError):
    """404 for a path of a group or version that is not served; its answer is plain text."""

    def __init__(self) -> None:
        super().__init__(404, "NotFound", "404 page not found")


def unsupported_media_type(accepted: Sequence[str]) -> ApiError:
    """415 for a body in a format that the path does not take."""
    listed = ", ".join(accepted)
    message = f"the body of the request was in an unknown format - accepted media types include: {listed}"
    return ApiError(415, "UnsupportedMediaType", message)


def _details(kind: Kind, name: str) -> dict[str, Any]:
    return {"name": name, "group": kind.group, "kind": kind.plural}
