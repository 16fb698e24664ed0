"""The command lines of the plain commands. What they do is imported when one runs."""

import argparse
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Final

from kubectl_chrek.api import names

COMMANDS: Final = ("capture", "restore", "inspect", "verify", "sign", "reseal", "export", "import", "copy", "doctor")
_ARTIFACT: Final = "HASH, HASH/GENERATION, or its place: a directory or a URI"
_STORE: Final = "directory of artifacts, s3://bucket/prefix, or oci://host/repository"


def add_node_arguments(parser: argparse.ArgumentParser) -> None:
    """Where things lie on a node: for the daemon and the plain commands."""
    root = Path(os.environ.get("CHREK_CRIU_ROOT", "/"))
    parser.add_argument("--state", type=Path, default=Path("/var/lib/chrek"), help="journal and logs, local to this node")
    parser.add_argument("--criu-root", type=Path, default=root, help="tree with usr/sbin/criu (CHREK_CRIU_ROOT)")
    parser.add_argument("--cgroup-root", type=Path, default=Path("/sys/fs/cgroup"), help="where cgroupfs is mounted")
    huge = "let this node use huge pages while GPU memory moves to the host: a third less time"
    parser.add_argument("--huge-pages", action=argparse.BooleanOptionalAction, default=True, help=huge)
    inner = "end TCP connections between a worker's own processes too, as all others"
    parser.add_argument("--close-connections", action="store_true", help=inner)
    parser.add_argument("-v", "--verbose", action="store_true", help="log more")


def parse_command(words: list[str]) -> argparse.Namespace:
    """The command line of a plain command; `command` is what to await."""
    parser = argparse.ArgumentParser(prog="chrek-agent", description="Captures and restores containers without a cluster")
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")
    capture = _verb(verbs, "capture", "capture a container's worker; it runs on")
    capture.add_argument("target", metavar="CONTAINER", help="ID of a container, or PID of a process in it")
    capture.add_argument("--identity", type=Path, required=True, help="YAML file with model, backendFramework, ...")
    restore = _verb(verbs, "restore", "restore an artifact into a container whose PID 1 is the waiting shim")
    restore.add_argument("artifact", metavar="ARTIFACT", help=_ARTIFACT)
    restore.add_argument("target", metavar="CONTAINER", help="ID of a container, or PID of a process in it")
    restore.add_argument("--wait", type=float, default=20.0, help="seconds to wait for the shim")
    restore.add_argument("--override", action="append", default=[], help="a compatibility check that does not count, or all")
    for name, text in (("inspect", "show what is in an artifact"), ("sign", "sign an artifact with the key of CHREK_SIGNING_KEY")):
        _verb(verbs, name, text).add_argument("artifact", metavar="ARTIFACT", help=_ARTIFACT)
    verify = _verb(verbs, "verify", "read an artifact back")
    verify.add_argument("artifact", metavar="ARTIFACT", help=_ARTIFACT)
    verify.add_argument("--require-signature", action="store_true", help="fail unless one of CHREK_TRUSTED_KEYS has signed it")
    _verb(verbs, "reseal", "seal what is under former keys, or lies open, with the current key of CHREK_ENCRYPTION_KEYS")
    _add_transfers(verbs)
    _verb(verbs, "doctor", "check this machine")
    args = parser.parse_args(words)
    args.command = _command(words[0])
    return args


def _add_transfers(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    export = _verb(verbs, "export", "write an artifact to one file; one that was cut off is continued")
    export.add_argument("artifact", metavar="ARTIFACT", help=_ARTIFACT)
    export.add_argument("file", metavar="FILE", help="- for standard output")
    export.add_argument("--raw", action="store_true", help="do not compress")
    export.add_argument("--skip", type=_count, metavar="N", help="write only what follows the first N chunks")
    load = _verb(verbs, "import", "read an artifact from one file; what is there already is not stored again")
    load.add_argument("file", metavar="FILE", help="- for standard input")
    load.add_argument("--ask", action="store_true", help="only tell, as JSON, which chunks of it the store lacks")
    load.add_argument("--offer-to", default="", metavar="NAMESPACE", help="for this namespace's checkpoints to adopt")
    copy = _verb(verbs, "copy", "copy an artifact to another store; only what that lacks is read")
    copy.add_argument("artifact", metavar="ARTIFACT", help=_ARTIFACT)
    copy.add_argument("to", metavar="STORE", help=_STORE)
    copy.add_argument("--offer-to", default="", metavar="NAMESPACE", help="for this namespace's checkpoints to adopt")
    copy.add_argument("--progress", action="store_true", help="tell how far it is, as JSON, line by line")


def _count(word: str) -> int:
    number = int(word)
    if number < 0:
        raise ValueError
    return number


def _verb(
    verbs: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    text: str,
) -> argparse.ArgumentParser:
    parser = verbs.add_parser(name, help=text, description=text.capitalize())
    parser.add_argument("--store", default=names.BASE_PATH, help=_STORE)
    parser.add_argument("--node", default="", help="this node's name; default: its host name")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")
    add_node_arguments(parser)
    return parser


def _command(name: str) -> Callable[[argparse.Namespace], Coroutine[None, None, int]]:
    from chrek_agent.standalone import commands, transferring

    transfers = {"export": transferring.export, "import": transferring.import_, "copy": transferring.copy}
    found: Callable[[argparse.Namespace], Coroutine[None, None, int]] = transfers.get(name) or getattr(commands, name)
    return found
