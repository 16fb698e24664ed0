"""The error tree of all programs.

ChrekError                     anything we say on purpose: one line, and what to do about it
|- UsageError                  the caller's words are off (exit 2)
|  `- IdentityError            an identity that no checkpoint can have
|- NotFoundError               the named object does not exist (exit 4)
|- ConflictError               it exists already, or changed under our hands
|- NotReadyError               waited, and it did not become ready (exit 5)
`- ClusterError                the API server refused or could not be reached
"""

from typing import ClassVar


class ChrekError(Exception):
    """Base of all our errors; `str(error)` is one line for a person, `hint` says what to do about it."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(ChrekError):
    """The caller's words are off."""

    exit_code = 2


class IdentityError(UsageError):
    """An identity that no checkpoint can have; `field` names the culprit."""

    def __init__(self, field: str, message: str, *, hint: str = "") -> None:
        super().__init__(f"{field}: {message}", hint=hint)
        self.field = field


class NotFoundError(ChrekError):
    """The named object does not exist."""

    exit_code = 4


class ConflictError(ChrekError):
    """The object exists already, or changed since it was read."""


class NotReadyError(ChrekError):
    """It did not become ready in the time given, or failed."""

    exit_code = 5


class ClusterError(ChrekError):
    """The API server refused, or could not be reached; `status` is the HTTP status, 0 when there was no answer.

    `resume` is where a list goes on that the server has forgotten meanwhile; empty if it does not.
    """

    def __init__(self, message: str, *, status: int = 0, hint: str = "", resume: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.resume = resume
