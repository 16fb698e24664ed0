"""Where the logs of pods come from."""

from collections.abc import AsyncIterator
from typing import Protocol

from kubectl_chrek.local.apiserver.call import Call
from kubectl_chrek.local.apiserver.failures import bad_request
from kubectl_chrek.local.apiserver.objects import Body, dig


class LogSource(Protocol):
    """Reads a container's log, as a kubelet would.

    Given are the pod's namespace and its whole object, the container's name, whether to go on until the container ends, how many
    of the last lines to begin with (None: all), whether the container before the last restart is meant, how many seconds to look
    back (None: all), and whether each line begins with its time. May raise ApiError before the first piece.
    """

    def __call__(
        self,
        namespace: str,
        pod: Body,
        container: str,
        *,
        follow: bool,
        tail: int | None,
        previous: bool,
        since_seconds: int | None,
        timestamps: bool,
    ) -> AsyncIterator[bytes]:
        """Pieces of the log, in order."""
        ...


def read_log(source: LogSource | None, call: Call, pod: Body) -> AsyncIterator[bytes]:
    """The log that a GET of `pods/NAME/log` asks for. Raises ApiError (400) when there can be none."""
    container = chosen_container(call, pod)
    if source is None or not dig(pod, "spec", "nodeName"):
        return _empty()
    for status in dig(pod, "status", "containerStatuses") or []:
        waiting = dig(status, "state", "waiting")
        if (
            status.get("name") == container
            and waiting is not None
            and not status.get("lastState")
            and not status.get("restartCount")
        ):
            reason = waiting.get("reason", "ContainerCreating")
            raise bad_request(f'container "{container}" in pod "{call.name}" is waiting to start: {reason}')
    return source(
        call.namespace,
        pod,
        container,
        follow=call.flag("follow"),
        tail=call.number("tailLines"),
        previous=call.flag("previous"),
        since_seconds=call.number("sinceSeconds"),
        timestamps=call.flag("timestamps"),
    )


def chosen_container(call: Call, pod: Body) -> str:
    """The container the query names, else the pod's only one. Raises ApiError (400)."""
    names = [item["name"] for field in ("initContainers", "containers") for item in pod["spec"].get(field) or []]
    wanted = call.query.get("container", "")
    if not wanted and len(names) == 1:
        return str(names[0])
    if not wanted:
        listed = " ".join(item["name"] for item in pod["spec"]["containers"])
        raise bad_request(f"a container name must be specified for pod {call.name}, choose one of: [{listed}]")
    if wanted not in names:
        raise bad_request(f"container {wanted} is not valid for pod {call.name}")
    return wanted


async def _empty() -> AsyncIterator[bytes]:
    """Nothing, as a generator."""
    nothing: tuple[bytes, ...] = ()
    for piece in nothing:
        yield piece
