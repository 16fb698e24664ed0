"""CRIU's command lines. Pure: descriptors are numbers that the runner hands down.

CRIU is run through its own dynamic loader by descriptor and inside the container's namespaces, so that nothing needs to be in
the image and mounts, hostname and addresses are simply the container's.
"""

from collections.abc import Mapping
from typing import Final

_COMMON: Final = (
    "-v3",
    # The pod's cgroup is set by us; CRIU's own modes recreate the source's or fail.
    "--manage-cgroups=ignore",
    # Connections to peers that have long given up are ended in the images (chrek_agent.criu.connections).
    "--tcp-established",
    "--link-remap",
    "--file-locks",
    "--ghost-limit=512M",
)

_DUMP: Final = (
    "--leave-stopped",
    # No packet filter is ever set, so none is left behind: both ends of a connection that goes on stand still.
    "--network-lock=skip",
    # A probe that has connected and was not accepted yet.
    "--skip-in-flight",
    # An overlay gives no handles for what inotify watches; CRIU then looks for it, in /etc and here.
    "--force-irmap",
    "--irmap-scan-path=/tmp",
)


def program(criu_fd: int) -> list[str]:
    """CRIU itself, in the tree that `criu_fd` is open on."""
    root = f"/proc/self/fd/{criu_fd}"
    return [
        f"{root}/usr/lib64/ld-linux-x86-64.so.2",
        "--library-path",
        f"{root}/usr/lib/x86_64-linux-gnu",
        f"{root}/usr/sbin/criu",
    ]


def enter(init: int, *, ipc: bool = True) -> list[str]:
    """Enters the namespaces of a container's PID 1.

    CRIU dumps System V objects only of an IPC namespace that is not its own; a restore then makes a new one for them.
    """
    return ["nsenter", "-t", str(init), "-m", "-p", "-n", "-u", *(["-i"] if ipc else []), "--"]


def dump(worker: int, *, images_fd: int, work_fd: int) -> list[str]:
    """Dumps the tree of `worker` (its PID inside) and leaves it stopped: what happens to it is decided once the images are safe."""
    paths = ["--images-dir", f"/proc/self/fd/{images_fd}", "--work-dir", f"/proc/self/fd/{work_fd}"]
    return ["dump", "--tree", str(worker), *paths, "--log-file", "dump.log", *_COMMON, *_DUMP]


def in_place(*, socket_fd: int, ready_fd: int) -> list[str]:
    """To be added to a dump: private memory stays in the frozen processes until the other end of `socket_fd` is closed.

    A byte on `ready_fd` says that everything else is in the images. CRIU means to serve the pages over that socket; nobody asks it.
    """
    return ["--lazy-pages", "--ps-socket", str(socket_fd), "--status-fd", str(ready_fd)]


def restore(*, images_fd: int, work_fd: int, streams: Mapping[int, str], lazy: bool = False) -> list[str]:
    """Restores the tree, stopped, with `streams`: our descriptor -> `pipe:[inode]` in the images; `lazy`: see criu.lazy."""
    paths = ["--images-dir", f"/proc/self/fd/{images_fd}", "--work-dir", f"/proc/self/fd/{work_fd}"]
    inherit = [word for fd, pipe in streams.items() for word in ("--inherit-fd", f"fd[{fd}]:{pipe}")]
    late = ["--lazy-pages"] if lazy else []
    return ["restore", *paths, "--log-file", "restore.log", *_COMMON, "--restore-detached", "--leave-stopped", *inherit, *late]
