"""What a CRIU log says of a failure. Its first error line is often a harmless one, and its exit code says nothing."""

import re
from pathlib import Path
from typing import Final

_ERROR: Final = re.compile(r"^(?:\(\d+\.\d+\)\s*)?(?:\s*\d+:\s*)?Error \((?P<place>[^)]*)\):\s*(?P<text>.*)$")
_HARMLESS: Final = ("Unable to create tun", "RLIMIT_NOFILE", "Can't setup RLIMIT", "Can't keep kdat cache")

# A signal came to a process while CRIU worked in it. SIGCONT alone does that, as it reaches a traced process in spite of its mask:
# it stops once more (5, SIGTRAP), which CRIU does not expect.
_INTERRUPTED: Final = ("task interruption, aborting", "was stopped by 5 unexpectedly")

# What CRIU says -> what a person can do about it.
_MEANINGS: Final = (
    (
        "anon_inode:[io_uring]",
        "the worker uses io_uring, which CRIU cannot dump: block it by seccomp, or set UV_USE_IO_URING=0 or USE_LIBUV=0",
    ),
    ("Connected TCP socket", "the worker has open TCP connections"),
    ("No space left on device", "the store is full"),
    ("Can't fork for", "a PID of the worker is taken in the new pod"),
    *((sign, "a signal, most likely SIGCONT, came to the worker while it was dumped") for sign in _INTERRUPTED),
)


def errors(log: Path) -> list[str]:
    """The error lines that matter, in order."""
    try:
        lines = log.read_text(errors="replace").splitlines()
    except OSError:
        return []
    found = (match["text"].strip() for match in map(_ERROR.match, lines) if match)
    return [text for text in found if not any(harmless in text for harmless in _HARMLESS)]


def interrupted(log: Path) -> bool:
    """A signal to the worker has made CRIU give up: there is nothing wrong with either, and another dump may succeed."""
    return any(sign in line for line in errors(log) for sign in _INTERRUPTED)


def explain(log: Path, verb: str, code: int | None) -> str:
    """One line on why CRIU failed; `code` None means that its time was up."""
    if code is None:
        return f"CRIU did not finish its {verb} in time"
    lines = errors(log)
    for line in lines:
        for sign, meaning in _MEANINGS:
            if sign in line:
                return f"{meaning} (CRIU: {line})"
    detail = lines[0] if lines else "its log names no error"
    return f"CRIU {verb} failed with exit code {code}: {detail}"
