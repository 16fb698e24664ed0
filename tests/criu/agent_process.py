"""Operations of an agent in processes that may be killed: reads orders, one JSON line each, and forks one process for each.

An order: {"kind", "state", "box" (of a target only its container counts), "artifact", "die_at": step, "kill_criu_after": seconds}.
The answer: {"status": as waitpid has it, "steps": [[name, seconds since the first]], "result" or "error"}.
"""

import asyncio
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

sys.path.append(str(Path(__file__).parent))

from light_agent import LightAgent, artifact_of

from chrek_agent.container.discovery import Container
from chrek_agent.errors import AgentError
from chrek_agent.journal import Record, record
from kubectl_chrek.api.checkpoint import Artifact


def watch(order: dict, answers: int) -> None:
    """Makes the journal tell of each step, and kill whom it is told to."""
    noted, started, begin = Record.step, Record.criu_started, time.monotonic()

    def tell(name: str) -> None:
        os.write(answers, json.dumps({"step": [name, time.monotonic() - begin]}).encode() + b"\n")

    def step(self: Record, name: str) -> None:
        noted(self, name)
        tell(name)
        if order.get("die_at") == name:
            os.kill(os.getpid(), signal.SIGKILL)

    def criu_started(self: Record, group: int) -> None:
        started(self, group)
        tell("criu_started")
        if order.get("kill_criu_after") is not None:
            threading.Timer(order["kill_criu_after"], kill, (group,)).start()

    def kill(group: int) -> None:
        try:
            os.killpg(group, signal.SIGKILL)
        except ProcessLookupError:
            tell("criu_had_ended")

    Record.step, Record.criu_started = step, criu_started


async def run(order: dict) -> dict:
    agent = LightAgent.at(Path(order["state"]))
    fields = order["container"]
    container = Container(**fields | {"cgroups": tuple(map(Path, fields["cgroups"]))})
    if order["kind"] == "restore":
        restored = await agent.restoring(container, Artifact.model_validate(order["artifact"]))
        return {"pid": restored.pid}
    with record(agent.config.journal, "capture", container) as entry:
        captured = await agent.captured(order["pod"], container, entry)
        entry.step("publish")
        entry.step("release")
        agent.let_go(container)
        return artifact_of(captured).model_dump(mode="json")


def child(order: dict, answers: int) -> None:
    watch(order, answers)
    try:
        answer = {"result": asyncio.run(run(order))}
    except AgentError as error:
        answer = {"error": str(error)}
    os.write(answers, json.dumps(answer).encode() + b"\n")


def main() -> None:
    for line in sys.stdin:
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reading)
            try:
                child(json.loads(line), writing)
            finally:
                os._exit(0)
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            answers = [json.loads(answer) for answer in pipe.read().splitlines()]
        _, status = os.waitpid(pid, 0)
        whole: dict = {"status": status, "steps": [answer["step"] for answer in answers if "step" in answer]}
        for answer in answers:
            whole |= {name: value for name, value in answer.items() if name != "step"}
        sys.stdout.write(json.dumps(whole) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
