"""What a remote store's refusals mean: one line that says what is wrong and what to do."""

import re
from typing import Final


class StorageError(OSError):
    """A remote store refused or could not be reached, in one line; OSError as any backend raises it."""


_LIMIT: Final = 200
_CODE: Final = re.compile(r"<Code>(\w+)</Code>")
_STATUS: Final = re.compile(r"status code: (\d{3})|status: (\d{3})")

_KEYS: Final = "the credentials are wrong: check the Secret that storage names (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY)"
_CODES: Final = {
    "InvalidAccessKeyId": _KEYS,
    "SignatureDoesNotMatch": _KEYS,
    "AuthFailure": _KEYS,
    "ExpiredToken": "the session token has expired: renew the Secret, or let the agent get its own by its service account",
    "InvalidToken": "the session token is not valid: renew the Secret",
    "AccessDenied": "the credentials do not allow it: allow to get, put, list and delete objects, and to abort multipart uploads",
    "RequestTimeTooSkewed": "the clocks of this node and of the store are too far apart: set this node's clock (NTP)",
    "RequestExpired": "the clocks of this node and of the store are too far apart: set this node's clock (NTP)",
    "NoSuchBucket": "there is no such bucket: create it, or correct the URI",
    "InvalidBucketName": "there is no such bucket: correct the URI",
    "PermanentRedirect": "the bucket is in another region: give ?region=",
    "AuthorizationHeaderMalformed": "the bucket is in another region: give ?region=",
    "SlowDown": "the store is overloaded and asked us to slow down, again and again",
    "QuotaExceeded": "the store is full",
    "XMinioStorageFull": "the store is full",
    "EntityTooLarge": "the store refuses objects of this size",
}
_WORDS: Final = (
    ("169.254.", "there are no credentials: name a Secret, or give the agent's service account a role"),
    ("dns error", "its name cannot be resolved: check the URI and the cluster's DNS"),
    ("InvalidCertificate", "its certificate is not trusted: give ?ca= with the authority's certificate"),
    ("certificate", "its certificate is not trusted: give ?ca= with the authority's certificate"),
    ("redirect without", "the bucket is in another region: give ?region="),
    ("kind: Connect", "it cannot be reached: check the URI, the network and its policies"),
    ("TimedOut", "it did not answer in time, again and again"),
    ("kind: Timeout", "it did not answer in time, again and again"),
    ("IncompleteMessage", "it cut the connection, again and again"),
    ("kind: Interrupted", "it cut the connection, again and again"),
)


def explain(text: str) -> str:
    """What an S3 client's error text means; its first line where it is not known."""
    code = _CODE.search(text)
    if code and code[1] in _CODES:
        return _CODES[code[1]]
    for word, meaning in _WORDS:
        if word in text:
            return meaning
    status = _STATUS.search(text)
    if status:
        return explain_status(int(status[1] or status[2]))
    return text.split("\n", 1)[0][:_LIMIT]


def explain_status(status: int) -> str:
    """What an HTTP status means that is no success."""
    if status == 401:
        return "the credentials are wrong or missing: check the Secret that storage names"
    if status == 403:
        return _CODES["AccessDenied"]
    if status == 429:
        return _CODES["SlowDown"]
    if status == 507:
        return "the store is full"
    return f"it answered {status}{', again and again' if status >= 500 else ''}"
