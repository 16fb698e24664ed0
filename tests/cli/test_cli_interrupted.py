"""`gc`, `export` and `prewarm` end in the middle, by Ctrl-C or with the connection: nothing is half done, again completes it."""

import asyncio
import os
import signal

import pytest

from kubectl_chrek.api.errors import ClusterError
from kubectl_chrek.cluster.execution import BrokenExecutionError
from kubectl_chrek.cluster.resources import CHREK_NODES
from kubectl_chrek.ops import exporting
from kubectl_chrek.ops.agents import Agent

DUE, STAGE = "nvidia.com/chrek-delete-after", "nvidia.com/chrek-stage"
FLAGS = ("--model", "q", "--framework", "vllm", "--image", "i", "--nodes", "n")


class Cut:
    """After so many changes that were made, a request ends as `how` says: the user's interrupt, or a connection that is lost."""

    def __init__(self, fake, how, after):
        self.fake, self.how, self.left = fake, how, after
        for verb in ("create", "patch", "delete"):
            setattr(fake, verb, self.guarded(getattr(fake, verb)))

    def guarded(self, call):
        async def guarded(*args, **options):
            if self.left == 0:
                if self.how == "interrupt":
                    os.kill(os.getpid(), signal.SIGINT)
                    await asyncio.sleep(10)
                raise ClusterError("Unable to connect to the server https://fake: Server disconnected")
            self.left -= 1
            return await call(*args, **options)

        return guarded

    def mend(self):
        self.left = -1


@pytest.fixture(params=["interrupt", "lost connection"])
def cut(request, fake):
    return lambda after: Cut(fake, request.param, after)


def state(fake):
    return {
        name: dict(body["metadata"].get("annotations") or {})
        for (kind, _, name), body in fake.objects.items()
        if kind.startswith("dynamocheck")
    }


@pytest.mark.parametrize("after", [0, 1, 2])
@pytest.mark.parametrize("words", [("gc", "--all", "--yes"), ("gc", "--all", "--now", "--wait=false", "--yes")])
def test_a_collection(chrek, fake, cut, words, after):
    for name in ("a", "b", "c"):
        fake.checkpoint(name, phase="Ready", artifact={"generation": name, "bytes": 1})
    broken = cut(after)
    first = chrek(*words)
    marked = [name for name, annotations in state(fake).items() if DUE in annotations]
    done = 3 - len(state(fake)) + len(marked)
    assert done == after, "each checkpoint is marked or deleted, or untouched"
    assert first.code == (130 if broken.how == "interrupt" else 6)
    assert len([line for line in first.out.splitlines() if line.startswith("dynamo")]) == done, "what was done was told"
    broken.mend()
    again = chrek(*words)
    assert again.code == 0
    assert all(DUE in annotations for annotations in state(fake).values())


@pytest.mark.parametrize("after", [0, 1])
def test_a_prewarm_that_stages(chrek, fake, cut, after):
    status = {"agent": {"heartbeatAt": "2026-01-31T11:59:50Z"}, "cache": {"quotaBytes": 9}}
    fake.put(CHREK_NODES, "n", namespace="", status=status)
    broken = cut(after)
    first = chrek("prewarm", *FLAGS, "--", "w")
    assert first.code == (130 if broken.how == "interrupt" else 1)
    assert len(state(fake)) == after
    assert not any(STAGE in annotations for annotations in state(fake).values())
    broken.mend()
    again = chrek("prewarm", *FLAGS, "--", "w")
    assert (again.code, len(state(fake))) == (0, 1)
    assert all(annotations[STAGE] == "n" for annotations in state(fake).values())


@pytest.mark.parametrize("how", [KeyboardInterrupt, BrokenExecutionError("the connection to the agent was lost")])
def test_an_export(chrek, fake, monkeypatch, tmp_path, how):
    fake.checkpoint("x", phase="Ready", artifact={"generation": "g", "digest": "d"})
    path = tmp_path / "x.chrek"

    async def found(*_, **__):
        return Agent("chrek", "agent", "agent", "n", "/checkpoints")

    async def stream(cluster, agent, command, file, note, progress):
        file.write(b"half")
        raise how

    monkeypatch.setattr(exporting, "find_agent", found)
    monkeypatch.setattr(exporting, "_stream", stream)
    monkeypatch.setattr(exporting, "_resume", lambda file, artifact: (None, False))
    monkeypatch.setattr(exporting, "ATTEMPTS", 0)
    result = chrek("export", "x", str(path))
    assert result.code == (130 if how is KeyboardInterrupt else 1)
    assert not path.exists(), "FILE is whole or is not there"
    assert exporting.partial_of(path).read_bytes() == b"half"
    assert not [call for call in fake.calls if call[0] != "get"], "the cluster is as it was"
