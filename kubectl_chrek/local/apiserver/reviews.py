"""Questions about access: whoever holds the token may do anything."""

from kubectl_chrek.local.apiserver.kinds import Kind
from kubectl_chrek.local.apiserver.objects import Body, dig, timestamp

USER = {"username": "chrek-local", "groups": ["system:masters", "system:authenticated"]}


def review(kind: Kind, body: Body, token: str) -> Body:
    """The question with its answer in `status`."""
    answer: Body = {"kind": kind.kind, "apiVersion": kind.api_version} | body
    answer["metadata"] = {"creationTimestamp": timestamp()} | (body.get("metadata") or {})
    match kind.kind:
        case "SelfSubjectReview":
            answer["status"] = {"userInfo": USER}
        case "TokenReview":
            known = dig(body, "spec", "token") == token
            answer["status"] = {"authenticated": True, "user": USER} if known else {"authenticated": False}
        case "SelfSubjectRulesReview":
            every = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}
            answer["status"] = {"resourceRules": [every], "nonResourceRules": [], "incomplete": False}
        case _:
            answer["status"] = {"allowed": True, "reason": "the token's holder may do anything"}
    return answer
