"""Ranks on several GPUs, captured and restored: `two_gpus.py --out FILE [--ranks-on-one-gpu | --cpu]`, and the rest as run.py.

Ranks have a GPU each and speak NCCL: as many as there are GPUs. With `--ranks-on-one-gpu` two of them share one, over gloo, which
shows all but NCCL and the map of GPUs; with `--cpu` there is no GPU at all, to try the script out. Ours is the agent's own code.
"""

import asyncio
import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ceilings
import run
from container import Box
from lab import LIMIT, Lab, Note, Row, plain_source

from chrek_agent.capture import Captured
from chrek_agent.container import processes
from chrek_agent.cuda import frozen
from chrek_agent.cuda.detection import gpu_processes
from chrek_agent.cuda.driver import CudaError, Driver
from chrek_agent.cuda.evidence import gather
from chrek_agent.errors import AgentError
from chrek_agent.node.gpus import node_gpus
from chrek_operator.capture_env import capture_data

PROGRAM = Path(__file__).with_name("ranks.py")
PLACES = {"--ranks-on-one-gpu": "one-gpu", "--cpu": "cpu"}
NCCL = {
    name: "" for name in capture_data() if name.startswith("NCCL_") and name not in ("NCCL_SOCKET_IFNAME", "NCCL_SET_THREAD_NAME")
}
PEERS = {"NCCL_P2P_DISABLE": "0"}
SHARED_MEMORY = {"NCCL_SHM_DISABLE": "0"}


def place() -> str:
    return os.environ.get("RANKS_ON", "gpus")


def count() -> int:
    """How many ranks."""
    return max(2, len(node_gpus()[0])) if place() == "gpus" else 2


def room(gib: float) -> None:
    if place() != "cpu":
        ceilings.present(gib)


@contextmanager
def environment(changes: dict[str, str]) -> Iterator[None]:
    """What containers that start meanwhile get: the operator's table with changes; an empty value takes a variable away."""
    before = dict(os.environ)
    os.environ.update(capture_data() | changes | {"RANKS_ON": place()})
    for name in [name for name, value in changes.items() if not value]:
        os.environ.pop(name, None)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


class Seconds(logging.Handler):
    """Notes what the driver took for each rank, as the agent logs it."""

    def __init__(self, note: Note) -> None:
        super().__init__()
        self._note = note

    def emit(self, record: logging.LogRecord) -> None:
        if isinstance(record.args, dict):
            self._note("ranks", {"what": record.msg.partition(";")[0], "seconds": record.args})


@contextmanager
def listening(note: Note) -> Iterator[None]:
    handler, log = Seconds(note), logging.getLogger(frozen.__name__)
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)


@contextmanager
def turned_round() -> Iterator[None]:
    """Each GPU's memory goes to the next one."""
    usual = frozen.device_map

    def next_one(captured: Sequence[Any], here: Sequence[Any]) -> dict[str, str]:
        return {old.uuid: new.uuid for old, new in zip(captured, [*here[1:], here[0]], strict=True)}

    frozen.device_map = next_one
    try:
        yield
    finally:
        frozen.device_map = usual


def users(box: Box, driver: Driver) -> list[processes.Process]:
    return [user for user in gpu_processes(processes.namespace_members(box.container.init)) if driver.holds(user.pid)]


def seen(lab: Lab, box: Box) -> list[Row]:
    """What the agent goes by, of each GPU process."""
    if place() == "cpu":
        return []
    found = []
    for user in users(box, lab.driver):
        shown = gather(user)
        settings = {name: value for name, value in shown.environment.items() if name.startswith(("NCCL", "CUDA", "NVIDIA"))}
        row = {"mapped": dict(shown.mapped), "files": sorted(shown.files), "threads": sorted(shown.threads)}
        found.append(row | {"environment": settings, "mps": shown.mps, "communicates": shown.communicates})
    return found


def speed(box: Box) -> float:
    """GiB a second of an all-reduce, now."""
    asked = box.container.root / "bench" / "measure"
    begin = box.state()["step"]
    asked.touch()
    deadline = time.monotonic() + LIMIT
    while (box.state() or {}).get("speed", {}).get("step", 0) <= begin:
        assert time.monotonic() < deadline, "nothing was measured"
        time.sleep(0.01)
    asked.unlink()
    return box.state()["speed"]["gib_s"]


def part_facts(lab: Lab, note: Note) -> None:
    if place() == "cpu":
        return
    note("facts", ceilings.facts())
    note("gpus", {minor: gpu.model_dump(mode="json") for minor, gpu in node_gpus()[0].items()})
    note("together", {"peers": lab.driver.peers(), "multicast": lab.driver.multicast()})
    for words in (["nvidia-smi", "topo", "-m"], ["python3", "-c", "import torch; print(torch.cuda.nccl.version())"]):
        said = subprocess.run(words, capture_output=True, text=True, check=False)
        note(words[0], (said.stdout or said.stderr)[-2000:])


def part_ranks(lab: Lab, note: Note, kind: str, amount: int, gib: float, env: dict[str, str], *, plain: int, ours: int) -> None:
    """Ranks that are captured as they are, both ways; then on the same GPUs and, where each has its own, on each other's."""
    words, images = (kind, str(amount), "7", str(count())), lab.fresh("plain")
    with environment(env), listening(note):
        if plain:
            plainly = plain_source(lab, note, images, gib, *words)
        with lab.worker(*words) as (box, cold):
            note("cold", cold["seconds"])
            note("speed", {"when": "before", "gib_s": speed(box)})
            note("seen", seen(lab, box))
            room(gib * 2.2)
            captured, row = lab.capture(box)
            note("capture", row)
        for number in range(max(plain, ours)):
            if number < plain:
                room(gib * 1.1)
                note("plain_restore", lab.plain_restore(images, plainly, *words))
            if number < ours:
                room(gib * 1.1)
                note("restore", lab.restore(captured, row["state"], *words))
        note("speed", restored_speed(lab, captured, row["state"], words))
        shutil.rmtree(images, ignore_errors=True)
        elsewhere(lab, note, captured, row["state"], words, gib)


def elsewhere(lab: Lab, note: Note, captured: Captured, expected: Row, words: Sequence[str], gib: float) -> None:
    """Each rank on another rank's GPU, where each has its own."""
    if place() == "gpus":
        room(gib * 1.1)
        with turned_round():
            note("restore_elsewhere", lab.restore(captured, expected, *words))
            note("speed_elsewhere", restored_speed(lab, captured, expected, words))


def restored_speed(lab: Lab, captured: Captured, expected: Row, words: Sequence[str]) -> Row:
    """All-reduces of restored ranks, and the GPUs that they are on."""
    with lab.target(*words) as box:
        begin = time.time()
        asyncio.run(lab.bring_back(box, captured))
        first = box.said_after(begin, LIMIT)
        assert first["said"] == expected["said"], f"the restored ranks say {first['said']}, not {expected['said']}"
        return {"when": "after", "gib_s": speed(box), "gpus": first["gpus"], "were": expected["gpus"]}


def part_rebuilt(lab: Lab, note: Note, kind: str, amount: int, gib: float, env: dict[str, str], *, runs: int) -> None:
    """Ranks that take their process groups down for the capture and make them anew, so that GPUs may reach each other."""
    words = (kind, str(amount), "7", str(count()), "rebuilt")
    with environment(env), listening(note):
        with lab.worker(*words) as (box, cold):
            note("cold", cold["seconds"])
            note("speed", {"when": "before", "gib_s": speed(box)})
            note("seen", seen(lab, box))
            room(gib * 2.2)
            captured, row = lab.capture_apart(box)
            note("capture", row)
        for _ in range(runs):
            room(gib * 1.1)
            note("restore", lab.restore(captured, row["state"], *words))
        note("speed", restored_speed(lab, captured, row["state"], words))
        elsewhere(lab, note, captured, row["state"], words, gib)


def part_refused(lab: Lab, note: Note, env: dict[str, str], *how: str) -> None:
    """Ranks that share GPU memory: the agent refuses them, and they go on; then what the driver itself would have said."""
    with environment(env), lab.worker("weights", "1", "7", str(count()), *how) as (box, cold):
        note("cold", cold["seconds"])
        note("speed", {"when": "before", "gib_s": speed(box)})
        note("seen", seen(lab, box))
        before = box.state()
        try:
            lab.capture(box)
            note("refused", "")
        except AgentError as error:
            note("refused", str(error))
        note("goes_on", goes_on(box, before))
        if place() != "cpu":
            note("driver", forced(lab.driver, [user.pid for user in users(box, lab.driver)]))
            note("goes_on_after_that", goes_on(box, before))


def goes_on(box: Box, before: Row) -> bool:
    try:
        after = box.said_after(time.time(), 10)
    except AssertionError:
        return False
    return after["said"] == before["said"] and after["step"] > before["step"]


def forced(driver: Driver, pids: Sequence[int]) -> list[str]:
    """What each of the driver's calls says, whatever the one before it said; onto the same GPUs."""
    calls = [
        ("lock", lambda pid: driver.lock(pid, 10)),
        ("checkpoint", driver.checkpoint),
        ("restore", lambda pid: driver.restore(pid, {})),
        ("unlock", driver.unlock),
    ]
    said = []
    for name, call in calls:
        for number, pid in enumerate(pids):
            begin = time.monotonic()
            try:
                call(pid)
                answer = "yes"
            except CudaError as error:
                answer = str(error)
            said.append(f"{name} of rank {number}: {answer}, {time.monotonic() - begin:.2f} s")
    return said


def many(gib: float) -> float:
    """Host memory that all ranks together need."""
    return gib * count()


PARTS: run.Parts = {
    "facts": (60, part_facts),
    "smoke": (90, lambda lab, note: part_ranks(lab, note, "weights", 1, many(2), {}, plain=1, ours=1)),
    "refused-p2p": (60, lambda lab, note: part_refused(lab, note, PEERS)),
    "refused-nvls": (60, lambda lab, note: part_refused(lab, note, NCCL)),
    "refused-ipc": (60, lambda lab, note: part_refused(lab, note, {}, "ipc")),
    "refused-managed": (60, lambda lab, note: part_refused(lab, note, {}, "managed")),
    "sockets-8": (240, lambda lab, note: part_ranks(lab, note, "weights", 8, many(9.5), {}, plain=2, ours=3)),
    "block": (120, lambda lab, note: part_ranks(lab, note, "block", 16, many(6), {}, plain=1, ours=2)),
    "shared-memory": (90, lambda lab, note: part_ranks(lab, note, "weights", 1, many(2), SHARED_MEMORY, plain=0, ours=1)),
    "rebuilt-8": (150, lambda lab, note: part_rebuilt(lab, note, "weights", 8, many(9.5), PEERS, runs=2)),
    "rebuilt-block": (120, lambda lab, note: part_rebuilt(lab, note, "block", 16, many(6), PEERS, runs=2)),
}
USUAL = "facts,refused-p2p,smoke,sockets-8,rebuilt-8,block,rebuilt-block,refused-nvls,shared-memory"
ON_ONE = "facts,smoke,block,rebuilt-block,refused-ipc,refused-managed"


class NoDriver:
    """On a machine without a GPU: no process uses one."""

    def holds(self, _pid: int) -> bool:
        return False


def made(base: Path, criu_root: Path) -> Lab:
    words = {"driver": NoDriver()} if place() == "cpu" else {}
    return Lab(base, criu_root, program=PROGRAM, **words)


def main() -> None:
    for flag in [flag for flag in sys.argv[1:] if flag in PLACES]:
        sys.argv.remove(flag)
        os.environ["RANKS_ON"] = PLACES[flag]
    run.main(PARTS, __file__, USUAL if place() == "gpus" else ON_ONE, made)


if __name__ == "__main__":
    main()
