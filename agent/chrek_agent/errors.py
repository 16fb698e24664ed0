"""Why an agent's work failed.

AgentError              one line for the status, the event and the worker's log
|- CaptureError         the source goes on as if nothing had happened
|- RestoreError         the target starts cold
|  |- IncompatibleError the capture cannot run here; nothing was touched
|  `- StoreError        the store does not answer, or refuses; what is in it may be in order
|     |- KeyMissingError   what is stored is sealed with a key that is not here
|     `- SignatureError    nobody whom this agent trusts has signed it
|- DeadlineError        a phase took longer than it may; as a failure of what it belongs to
`- ArtifactError        what is stored is not what was captured; never used again
"""

from kubectl_chrek.api.errors import ChrekError
from kubectl_chrek.api.names import Cause


class AgentError(ChrekError):
    """One line for the status, the event and the worker's log; `cause` is the same for machines."""

    cause: str = Cause.RESTORE_FAILED


class CaptureError(AgentError):
    """The worker could not be captured; it goes on as if nothing had happened."""


class RestoreError(AgentError):
    """The worker could not be restored; its pod starts cold."""

    def __init__(self, message: str, *, hint: str = "", cause: str = "") -> None:
        super().__init__(message, hint=hint)
        self.cause = cause or type(self).cause


class IncompatibleError(RestoreError):
    """The capture cannot run here; nothing was touched."""

    cause = Cause.INCOMPATIBLE


class StoreError(RestoreError):
    """The store does not answer, or refuses; what is in it may be in order."""

    cause = Cause.STORE


class KeyMissingError(StoreError):
    """What is stored is sealed with a key that is not here."""

    cause = Cause.KEY


class SignatureError(StoreError):
    """Nobody whom this agent trusts has signed it."""

    cause = Cause.SIGNATURE


class DeadlineError(AgentError):
    """A phase took longer than it may."""

    cause = Cause.DEADLINE


class ArtifactError(AgentError):
    """What is stored is not what was captured."""

    cause = Cause.CORRUPT
