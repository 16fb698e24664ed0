"""AdmissionReview: the question read, the answer written."""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from chrek_operator.admission.patching import Operation

API_VERSION: Final = "admission.k8s.io/v1"
WARNING_LIMIT: Final = 256
"""The API server cuts longer warnings."""

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Question:
    """What an API server asks. `new` is empty for a deletion, `old` for a creation."""

    uid: str
    kind: str
    operation: str
    namespace: str
    dry_run: bool
    new: Body
    old: Body


@dataclass(frozen=True, slots=True)
class Answer:
    """What it is told: a refusal's text or none, a patch, and warnings for whoever made the request."""

    refusal: str = ""
    patch: Sequence[Operation] = ()
    warnings: Sequence[str] = ()


def read_question(review: object) -> Question:
    """The question in an AdmissionReview. Raises ValueError when there is none."""
    if not isinstance(review, dict) or not isinstance(review.get("request"), dict):
        raise ValueError("expected an AdmissionReview with a request")
    request = review["request"]
    new, old = request.get("object") or {}, request.get("oldObject") or {}
    return Question(
        uid=str(request.get("uid", "")),
        kind=str((request.get("kind") or {}).get("kind", "")),
        operation=str(request.get("operation", "")),
        # The object of a pod in the making may have no namespace yet.
        namespace=str(request.get("namespace") or (new.get("metadata") or {}).get("namespace") or ""),
        dry_run=bool(request.get("dryRun")),
        new=new,
        old=old,
    )


def write_answer(question: Question, answer: Answer) -> Body:
    """The AdmissionReview that goes back."""
    response: Body = {"uid": question.uid, "allowed": not answer.refusal}
    if answer.refusal:
        response["status"] = {"code": 422, "reason": "Invalid", "message": answer.refusal}
    if answer.patch:
        encoded = base64.b64encode(json.dumps(list(answer.patch)).encode()).decode()
        response |= {"patchType": "JSONPatch", "patch": encoded}
    if answer.warnings:
        response["warnings"] = [text[:WARNING_LIMIT] for text in answer.warnings]
    return {"apiVersion": API_VERSION, "kind": "AdmissionReview", "response": response}
