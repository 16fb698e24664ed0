"""One program of the table, captured and brought back in another container."""

import contextlib
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from light_agent import LightAgent, artifact_of
from light_container import Shape, Yard, until
from program_table import Program

from chrek_agent.errors import AgentError


@dataclass(frozen=True, slots=True)
class Outcome:
    """How far it got, and why not further."""

    captured: bool = False
    restored: bool = False
    answered: bool = False
    reason: str = ""
    bytes: int = 0
    capture_seconds: float = 0.0
    restore_seconds: float = 0.0


def missing(program: Program) -> str:
    """Why it cannot run on this machine; empty when it can."""
    return "" if Path(program.needs).exists() else f"needs {program.package}"


def version(program: Program) -> str:
    """What it says of itself, in one line."""
    done = subprocess.run(program.version, capture_output=True, text=True, check=False)
    return (done.stdout or done.stderr).strip().splitlines()[0]


def run(program: Program, yard: Yard, agent: LightAgent, seccomp: Mapping[str, object]) -> Outcome:
    """Captures and restores it; AssertionError when it does not even start."""
    shape = Shape(security=program.security, env=program.env, seccomp=seccomp if program.no_io_uring else None)
    with yard.source(program.command, shape) as box:
        until(lambda: _answers(program.ready, box), f"{program.name} is ready: {box.output()[-300:]}")
        assert program.before(box)
        try:
            captured = agent.captured_whole(box)
        except AgentError as error:
            return Outcome(reason=str(error))
    facts = {"captured": True, "bytes": captured.manifest.size, "capture_seconds": round(captured.seconds, 2)}
    with yard.target(program.command, shape) as box:
        try:
            restored = agent.restore(box, artifact_of(captured))
        except AgentError as error:
            return Outcome(**facts, reason=str(error))
        seconds = round(sum(value for name, value in restored.phases.items() if name != "wait"), 2)
        try:
            until(lambda: _answers(program.after, box))
        except AssertionError as error:
            return Outcome(**facts, restored=True, restore_seconds=seconds, reason=str(error))
        return Outcome(**facts, restored=True, restore_seconds=seconds, answered=True)


def _answers(question, box) -> bool:
    with contextlib.suppress(subprocess.CalledProcessError):
        return bool(question(box))
    return False
