"""The only writer of stderr, and the exit codes. stdout is data; everything said about it is said here."""

import sys
import traceback
from enum import IntEnum
from typing import Final

from kubectl_chrek.api.errors import ChrekError

TRACEBACK_VERBOSITY: Final = 6


class ExitCode(IntEnum):
    """What the process returns. Any other code is a failure too."""

    OK = 0
    ERROR = 1
    USAGE = 2
    NOT_FOUND = 4
    NOT_READY = 5
    PARTIAL = 6
    INTERRUPTED = 130


class _Level:
    """How much is told: 0 is normal, 1 adds details, 6 adds tracebacks."""

    verbosity = 0


def set_verbosity(level: int) -> None:
    """Sets the level of `-v` for this process."""
    _Level.verbosity = level


def verbosity() -> int:
    """The level of `-v`."""
    return _Level.verbosity


def note(text: str) -> None:
    """One line for a person."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def warn(text: str) -> None:
    """Something the user should know, though all went well."""
    note(f"warning: {text}")


def report(error: ChrekError) -> ExitCode:
    """Says what went wrong and what to do about it; returns the exit code that stands for it."""
    message = " ".join(str(error).split("\n"))
    # What the server says is shown as kubectl shows it.
    note(message if message.startswith(("Error from server", "Unable to connect")) else f"error: {message}")
    if error.hint:
        note(f"hint: {error.hint}")
    if verbosity() >= TRACEBACK_VERBOSITY:
        note("".join(traceback.format_exception(error)).rstrip())
    return ExitCode(error.exit_code)


def report_unexpected(error: Exception) -> ExitCode:
    """Says that we met an error of our own making."""
    text = " ".join(str(error).split())
    note(f"error: unexpected {type(error).__name__}" + (f": {text}" if text else ""))
    if verbosity() >= TRACEBACK_VERBOSITY:
        note("".join(traceback.format_exception(error)).rstrip())
    else:
        note(f"hint: run it again with -v={TRACEBACK_VERBOSITY} for the traceback")
    return ExitCode.ERROR


def on_terminal() -> bool:
    """stdin, stdout and stderr are all a terminal: a screen can be drawn."""
    return sys.stdin.isatty() and sys.stdout.isatty() and sys.stderr.isatty()


def interactive() -> bool:
    """A person sits at stdin and reads stderr: we may ask."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def confirm(question: str) -> bool:
    """Asks; anything but a yes is a no."""
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


class ProgressLine:
    """Progress of something long: on a terminal one line that is rewritten, elsewhere a line whenever the step changes."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._step = ""
        self._dirty = False

    def update(self, step: str, detail: str) -> None:
        """Shows `step` and `detail`; off a terminal a new detail of the same step is not news."""
        if self._live:
            sys.stderr.write(f"\r{step} {detail}".rstrip() + "\x1b[K")
            sys.stderr.flush()
            self._dirty = True
        elif step != self._step:
            note(step)
        self._step = step

    def close(self) -> None:
        """Ends the line, so that what follows begins on its own."""
        if self._dirty:
            note("")
            self._dirty = False
