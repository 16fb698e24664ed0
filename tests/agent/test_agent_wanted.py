"""A capture whose checkpoint is deleted is ended and undone; nothing else ends it."""

import asyncio

import pytest

from chrek_agent.errors import CaptureError
from chrek_agent.tasks.wanted import while_wanted
from kubectl_chrek.api.checkpoint import read_checkpoint
from kubectl_chrek.api.errors import ClusterError, NotFoundError

METADATA = {"name": "cp", "namespace": "ns", "uid": "uid-1", "resourceVersion": "5"}
CHECKPOINT = read_checkpoint({"metadata": METADATA, "spec": {"identity": {"model": "m", "backendFramework": "vllm"}}, "status": {}})


class Cluster:
    """Answers once with what it is given; then the capture may end."""

    def __init__(self, answer):
        self.answer, self.asked = answer, asyncio.Event()

    async def get(self, resource, name, namespace=None):
        self.asked.set()
        if isinstance(self.answer, Exception):
            raise self.answer
        return {"metadata": self.answer}


class Work:
    def __init__(self, end):
        self.end, self.undone = end, False

    async def run(self):
        try:
            await self.end.wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            self.undone = True
            raise
        return "captured"


@pytest.mark.parametrize(
    "answer", [NotFoundError("gone"), METADATA | {"deletionTimestamp": "2026-01-01T00:00:00Z"}, METADATA | {"uid": "another"}]
)
async def test_a_deleted_checkpoint_ends_its_capture(answer):
    work = Work(asyncio.Event())
    with pytest.raises(CaptureError, match="checkpoint cp was deleted during its capture"):
        await while_wanted(Cluster(answer), CHECKPOINT, work.run(), seconds=0)
    assert work.undone


@pytest.mark.parametrize("answer", [METADATA, ClusterError("the API server is away")])
async def test_it_goes_on_otherwise(answer):
    cluster = Cluster(answer)
    work = Work(cluster.asked)
    assert await while_wanted(cluster, CHECKPOINT, work.run(), seconds=0) == "captured"
    assert not work.undone


async def test_a_capture_that_fails_says_why():
    async def fail():
        raise CaptureError("no luck")

    with pytest.raises(CaptureError, match="no luck"):
        await while_wanted(Cluster(METADATA), CHECKPOINT, fail())


async def test_whoever_is_cancelled_undoes_its_capture_first():
    work = Work(asyncio.Event())
    cluster = Cluster(METADATA)
    task = asyncio.create_task(while_wanted(cluster, CHECKPOINT, work.run(), seconds=0))
    await cluster.asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert work.undone
