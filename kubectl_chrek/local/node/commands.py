"""Other programs, run and awaited."""

import asyncio

from kubectl_chrek.api.errors import ChrekError


class CommandError(ChrekError):
    """A program failed; the message is its name and the last line it wrote to stderr."""


async def run(*argv: str, stdin: str = "") -> str:
    """What the program wrote to stdout.

    Raises:
        CommandError: It exited with anything but 0, or is not installed.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *argv, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
    except FileNotFoundError as error:
        raise CommandError(f"{argv[0]} is not installed", hint=f"install {argv[0]}") from error
    out, err = await process.communicate(stdin.encode())
    if process.returncode:
        lines = err.decode(errors="replace").strip().splitlines() or [f"exit code {process.returncode}"]
        raise CommandError(f"{argv[0]}: {lines[-1]}")
    return out.decode(errors="replace")
