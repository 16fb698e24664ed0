"""Parts with more than one worker's loop: a server that is asked over HTTP, two processes on one GPU, two copies at once."""

import asyncio
import json
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import ceilings
from client import PORT, ask
from container import Box
from lab import Lab, Note, Row, plain_source

from chrek_agent.capture import Captured
from kubectl_chrek.api import names

HERE = Path(__file__).parent
ASKED = {"prompt": list(range(1, 17)), "count": 16}
WAYS = ("graph", "eager", "transformers")
PROBE = {"path": "/generate", "port": PORT, "body": {**ASKED, "how": "graph"}}
MEANWHILE = 2
"""Generations that the shim asks for: one at the capture, and one after the restore, which must be the same."""


def serving(lab: Lab) -> Lab:
    """The lab with the server, whose pod has a readiness probe and a probe of its own."""
    container = {"name": "main", "readinessProbe": {"httpGet": {"path": "/health", "port": PORT}}}
    metadata = {"name": "bench", "namespace": "bench", "annotations": {names.ANNOTATION_PROBE: json.dumps(PROBE)}}
    pod = {"metadata": metadata, "spec": {"containers": [container]}, "status": {}}
    return replace(lab, program=HERE / "server.py", pod=pod)


def part_server(lab: Lab, note: Note, size: str, gib: float, *, runs: int) -> None:
    """A server with its weights apart: captured, and restored so many times, one after the other."""
    lab, words = serving(lab), (size, "7", "apart")
    captured, before, drawn = _captured_server(lab, note, words, gib)
    for _ in range(runs):
        ceilings.present(4)
        with lab.target(*words) as box:
            row = asyncio.run(_brought_back(lab, box, captured, before))
            row["ways_same"] = _same_ways(box, before)
            drawn.append(ask(box, "/draw"))
            note("restore", row | {"after": drawn[-1]})
    _check_draws(drawn)


def part_clones(lab: Lab, note: Note, size: str, gib: float) -> None:
    """Two restores of one capture at the same time, on one GPU."""
    lab, words = serving(lab), (size, "7", "apart")
    captured, before, drawn = _captured_server(lab, note, words, gib)
    ceilings.present(gib * 2)
    with ExitStack() as stack:
        boxes = [stack.enter_context(lab.target(*words)) for _ in range(2)]

        async def both() -> list[Row]:
            return await asyncio.gather(*(_brought_back(lab, box, captured, before) for box in boxes))

        for row in asyncio.run(both()):
            note("restore", row)
        for box in boxes:
            _same_ways(box, before)
            drawn.append(ask(box, "/draw"))
            note("draw", drawn[-1])
    _check_draws(drawn)


def part_two(lab: Lab, note: Note, amount: str, gib: float, *, runs: int) -> None:
    """Two processes on one GPU, both ways."""
    lab, words = replace(lab, program=HERE / "two.py"), (amount, "7")
    images = lab.fresh("plain")
    plainly = plain_source(lab, note, images, gib, *words)
    with lab.worker(*words) as (box, cold):
        note("cold", cold["seconds"])
        ceilings.present(gib * 2.2)
        captured, row = lab.capture(box)
        note("capture", row)
    for _ in range(runs):
        ceilings.present(gib * 1.1)
        note("plain_restore", lab.plain_restore(images, plainly, *words))
        ceilings.present(gib * 1.1)
        note("restore", lab.restore(captured, row["state"], *words))


def _captured_server(lab: Lab, note: Note, words: tuple[str, ...], gib: float) -> tuple[Captured, Row, list[Row]]:
    """What was captured, what the source said before, and what it has drawn."""
    with lab.worker(*words) as (box, cold):
        note("cold", cold["seconds"])
        begin = time.time()
        said = {way: ask(box, "/generate", {**ASKED, "how": way}) for way in WAYS}
        note("answers", {"seconds": time.time() - begin, "graph_is_eager": said["graph"] == said["eager"]} | said)
        before = {"said": said, "asked": ask(box, "/health")["asked"]}
        drawn = [ask(box, "/draw")]
        note("draw", drawn[0])
        ceilings.present(gib * 1.2)
        captured, row = lab.capture_apart(box)
        note("capture", row)
    return captured, before, drawn


async def _brought_back(lab: Lab, box: Box, captured: Captured, before: Row) -> Row:
    """Restores it and asks it once, by its CUDA graph."""
    begin = time.time()
    restored = await lab.bring_back(box, captured)
    done = time.time()
    answer = await asyncio.to_thread(ask, box, "/generate", {**ASKED, "how": "graph"})
    seconds = time.time() - begin
    assert answer == before["said"]["graph"], f"the restored server writes {answer}, not {before['said']['graph']}"
    asked = (await asyncio.to_thread(ask, box, "/health"))["asked"]
    assert asked == before["asked"] + MEANWHILE + 1, f"{asked} generations, {before['asked']} of them before the capture"
    return {
        "seconds": seconds,
        "agent": done - begin,
        "phases": restored.phases,
        "bytes": restored.moved,
        "tokens": answer["tokens"],
    }


def _same_ways(box: Box, before: Row) -> list[str]:
    """The ways in which it has written; all as before the capture."""
    for way in WAYS:
        answer = ask(box, "/generate", {**ASKED, "how": way})
        assert answer == before["said"][way], f"{way}: the restored server writes {answer}, not {before['said'][way]}"
    return list(WAYS)


def _check_draws(drawn: list[dict[str, Any]]) -> None:
    """No two of them have drawn the same from any generator."""
    for generator in drawn[0]:
        values = [draw[generator] for draw in drawn]
        assert len(set(values)) == len(values), f"{generator}: {values}"
