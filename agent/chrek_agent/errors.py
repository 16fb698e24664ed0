"""Why an agent's work failed.

AgentError              one line for the status, the event and the worker's log
|- CaptureError         the source goes on as if nothing had happened
|- RestoreError         the target starts cold
`- ArtifactError        what is stored is not what was captured; never used again
"""

from kubectl_chrek.api.errors import ChrekError


class AgentError(ChrekError):
    """One line for the status, the event and the worker's log."""


class CaptureError(AgentError):
    """The worker could not be captured; it goes on as if nothing had happened."""


class RestoreError(AgentError):
    """The worker could not be restored; its pod starts cold."""


class ArtifactError(AgentError):
    """What is stored is not what was captured."""
