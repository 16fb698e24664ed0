"""The control directory of a worker's container, written from outside (the shim's side is chrek_worker.control).

The directory belongs to the container, so nothing in it is trusted: no link is followed, and what is written appears whole.
"""

import contextlib
import json
import os
import secrets
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from chrek_agent.container.discovery import Container
from chrek_agent.errors import AgentError
from kubectl_chrek.api import names

WAITING = "waiting"
CLAIM = "claim"
OUTCOME = "outcome"
SOURCE = "source"
QUIESCE, QUIESCED = "quiesce", "quiesced"
ACCEPT, ACCEPTED = "accept", "accepted"
_LIMIT = 64 * 1024


def read(container: Container, name: str) -> dict[str, Any] | None:
    """The file's content; None when there is none, empty when it is not one of ours.

    Raises:
        AgentError: The container has no control directory.
    """
    with directory_of(container) as directory:
        try:
            descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
        except OSError:
            return None
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return {}
            content = json.loads(os.read(descriptor, _LIMIT))
        except (OSError, ValueError, RecursionError):
            return {}
        finally:
            os.close(descriptor)
    return content if isinstance(content, dict) else {}


def write(container: Container, name: str, content: Mapping[str, Any]) -> None:
    """Replaces the file. Raises AgentError as `read`."""
    with directory_of(container) as directory, _temporary(directory, content) as temporary:
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)


def decide(container: Container, content: Mapping[str, Any]) -> bool:
    """Writes the outcome unless there is one; False when the shim was first. Raises AgentError as `read`."""
    with directory_of(container) as directory, _temporary(directory, content) as temporary:
        try:
            os.link(temporary, OUTCOME, src_dir_fd=directory, dst_dir_fd=directory, follow_symlinks=False)
        except FileExistsError:
            return False
    return True


@contextmanager
def directory_of(container: Container) -> Iterator[int]:
    """The directory itself, open while the block runs. Raises AgentError as `read`."""
    path = container.root / names.CONTROL_DIR.lstrip("/")
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        raise AgentError(f"container {container.name} has no control directory {names.CONTROL_DIR}: {error.strerror}") from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _temporary(directory: int, content: Mapping[str, Any]) -> Iterator[str]:
    name = f".chrek-{secrets.token_hex(8)}"
    descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644, dir_fd=directory)
    try:
        with os.fdopen(descriptor, "w") as file:
            os.fchmod(descriptor, 0o644)
            json.dump(content, file)
        yield name
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=directory)
