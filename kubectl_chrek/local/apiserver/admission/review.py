"""AdmissionReview: the question as a webhook gets it, and its answer, read."""

import base64
import binascii
import json
import uuid
from dataclasses import dataclass
from typing import Any, Final

from kubectl_chrek.local.apiserver.admission.matching import Write
from kubectl_chrek.local.apiserver.failures import ApiError
from kubectl_chrek.local.apiserver.objects import Body
from kubectl_chrek.local.apiserver.reviews import USER

_API_VERSION: Final = "admission.k8s.io/v1"
_OPTIONS: Final = {"CREATE": "CreateOptions", "UPDATE": "UpdateOptions", "DELETE": "DeleteOptions"}


class WebhookError(Exception):
    """A webhook could not be called, or its answer is none."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a webhook says: a refusal or None, a JSON patch, and warnings."""

    refusal: ApiError | None
    patch: list[Body]
    warnings: list[str]


def question(write: Write) -> Body:
    """The AdmissionReview that is sent."""
    call, kind = write.call, write.call.kind
    named = write.new or write.old or {}
    this_kind = {"group": kind.group, "version": kind.version, "kind": kind.kind}
    resource = {"group": kind.group, "version": kind.version, "resource": kind.plural}
    request: Body = {
        "uid": str(uuid.uuid4()),
        "kind": this_kind,
        "resource": resource,
        "requestKind": this_kind,
        "requestResource": resource,
        "operation": write.operation,
        "userInfo": USER,
        "object": write.new,
        "oldObject": write.old,
        "dryRun": call.dry_run,
        "options": {"kind": _OPTIONS[write.operation], "apiVersion": "meta.k8s.io/v1"},
    }
    name = call.name or (named.get("metadata") or {}).get("name", "")
    if name:
        request["name"] = name
    if call.namespace:
        request["namespace"] = call.namespace
    if call.subresource:
        request |= {"subResource": call.subresource, "requestSubResource": call.subresource}
    return {"kind": "AdmissionReview", "apiVersion": _API_VERSION, "request": request}


def read_answer(name: str, asked: Body, answer: Any) -> Verdict:
    """The verdict in an answer. Raises WebhookError when it is none to what was asked."""
    if not isinstance(answer, dict) or (answer.get("kind"), answer.get("apiVersion")) != ("AdmissionReview", _API_VERSION):
        raise WebhookError(f"expected webhook response of {_API_VERSION}, Kind=AdmissionReview")
    response = answer.get("response")
    if not isinstance(response, dict):
        raise WebhookError("webhook response was absent")
    if response.get("uid") != asked["request"]["uid"]:
        raise WebhookError(f'expected response.uid="{asked["request"]["uid"]}", got "{response.get("uid", "")}"')
    warnings = [str(text) for text in response.get("warnings") or ()]
    if not response.get("allowed"):
        return Verdict(_denied(name, response.get("status") or {}), [], warnings)
    return Verdict(None, _patch(response), warnings)


def _patch(response: Body) -> list[Body]:
    if not response.get("patch"):
        return []
    if response.get("patchType") != "JSONPatch":
        raise WebhookError(f'invalid response.patchType, expected "JSONPatch", got "{response.get("patchType", "")}"')
    try:
        patch = json.loads(base64.b64decode(response["patch"], validate=True))
    except (ValueError, binascii.Error) as error:
        raise WebhookError("webhook response's patch is no base64 of JSON") from error
    if not isinstance(patch, list):
        raise WebhookError("webhook response's patch is no list of operations")
    return patch


def _denied(name: str, status: Body) -> ApiError:
    reason, message = str(status.get("reason") or ""), str(status.get("message") or "")
    text = f'admission webhook "{name}" denied the request'
    text += f": {message or reason}" if message or reason else " without explanation"
    return ApiError(max(int(status.get("code") or 0), 400), reason, text, status.get("details"))
