"""The agent's half of asking a worker, against a shim that the test plays."""

import asyncio

import pytest

from chrek_agent.container import acceptance, control
from chrek_agent.errors import CaptureError, RestoreError
from chrek_worker.control import ControlDirectory

POD = {
    "metadata": {"name": "p", "namespace": "ns"},
    "spec": {
        "containers": [
            {
                "name": "main",
                "ports": [{"name": "http", "containerPort": 8000}],
                "readinessProbe": {"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 1},
            }
        ]
    },
}
RECORD = {"adapter": "plain", "answers": {"a": "1"}, "state": {}, "hook": False, "readiness": {}, "probe": {}}


class Container:
    """As much of one as a control directory needs."""

    id, name, init, init_start = "c" * 64, "main", 1, 42

    def __init__(self, root):
        self.root = root
        self.directory = root / "checkpoint-signal"
        self.directory.mkdir()
        self.inside = ControlDirectory(str(self.directory))
        self.asked = []

    def running(self):
        return True

    async def shim(self, question, reply, **answer):
        """Answers one request."""
        while (request := self.inside.read(question)) is None:
            await asyncio.sleep(0)
        self.asked.append(request)
        self.inside.write(reply, {"ok": True, **answer, "id": request["id"]})


@pytest.fixture
def container(tmp_path):
    found = Container(tmp_path)
    found.inside.write(control.SOURCE, {"start": 42, "protocol": 1})
    found.inside.write(control.WAITING, {"start": 42, "protocol": 1})
    return found


async def prepared(container, pod=POD, **answer):
    shim = asyncio.create_task(container.shim("quiesce", "quiesced", **answer))
    try:
        return await acceptance.prepare(container, pod, "vllm")
    finally:
        await shim


async def test_the_shim_is_told_of_the_pod_and_its_answer_kept(container, tmp_path):
    record = await prepared(container, **RECORD, notes=["captured awake"])
    assert record == RECORD
    asked = container.asked[0]
    assert asked["framework"] == "vllm"
    assert asked["readiness"] == {"httpGet": {"path": "/", "port": 8000}}
    assert asked["check"] is True
    acceptance.save(record, tmp_path / acceptance.FILE)
    assert acceptance.load(tmp_path / acceptance.FILE) == record


async def test_nothing_to_undo_and_nothing_to_show_is_nothing(container, tmp_path):
    record = await prepared(container, **RECORD | {"answers": {}})
    assert record == {}
    acceptance.save(record, tmp_path / acceptance.FILE)
    assert acceptance.load(tmp_path / acceptance.FILE) == {}


async def test_annotations_go_with_it(container):
    annotations = {
        "nvidia.com/chrek-adapter": "plain",
        "nvidia.com/chrek-acceptance": "off",
        "nvidia.com/chrek-probe": '{"path": "/x", "body": 1}',
    }
    pod = POD | {"metadata": POD["metadata"] | {"annotations": annotations}}
    await prepared(container, pod, **RECORD)
    asked = container.asked[0]
    assert (asked["adapter"], asked["check"], asked["probe"]) == ("plain", False, {"path": "/x", "body": 1})


@pytest.mark.parametrize("probe", ["{", "[]", "{}", '{"path": "x"}'])
async def test_a_probe_that_is_none_is_refused_before_anything_is_done(container, probe):
    pod = POD | {"metadata": POD["metadata"] | {"annotations": {"nvidia.com/chrek-probe": probe}}}
    with pytest.raises(CaptureError, match="chrek-probe is no probe"):
        await acceptance.prepare(container, pod, "vllm")
    assert container.inside.read("quiesce") is None


async def test_a_refusal_is_the_captures_failure(container):
    with pytest.raises(CaptureError, match="could not be made ready for its capture: no memory"):
        await prepared(container, ok=False, reason="no memory")


@pytest.mark.parametrize("said", [None, {"start": 41, "protocol": 1}, {"start": 42}])
async def test_a_shim_of_another_time_is_not_asked(container, said):
    container.inside.clear("source")
    if said is not None:
        container.inside.write("source", said)
    assert await acceptance.prepare(container, POD, "vllm") == {}


async def accepted(container, **answer):
    shim = asyncio.create_task(container.shim("accept", "accepted", **answer))
    try:
        await acceptance.accept(container, RECORD, check=True)
    finally:
        await shim


async def test_what_was_recorded_goes_back(container):
    await accepted(container)
    assert RECORD.items() <= container.asked[0].items()
    assert container.asked[0]["check"] is True


async def test_a_worker_that_is_not_well_starts_cold_for_a_cause_of_its_own(container):
    with pytest.raises(RestoreError, match="the restored worker is not well: GET / answered 500") as caught:
        await accepted(container, ok=False, reason="GET / answered 500")
    assert caught.value.cause == "NotAccepted"


async def test_a_shim_that_cannot_be_asked_cannot_resume_the_worker(container):
    container.inside.write("waiting", {"start": 42})
    with pytest.raises(RestoreError, match="too old"):
        await acceptance.accept(container, RECORD, check=True)


async def test_a_shim_that_does_not_answer(container, monkeypatch):
    monkeypatch.setattr(acceptance, "GRACE", 0.0)
    with pytest.raises(RestoreError, match="did not answer within 0 s"):
        await acceptance.accept(container, RECORD, check=True, seconds=0.0)


async def test_a_container_that_ends(container, monkeypatch):
    monkeypatch.setattr(container, "running", lambda: False)
    with pytest.raises(RestoreError, match="the container ended"):
        await acceptance.accept(container, RECORD, check=True)


def test_probes_that_a_shim_can_repeat():
    assert acceptance.readiness({"spec": {"containers": [{"name": "main", "readinessProbe": {"grpc": {"port": 1}}}]}}, "main") == {}
    assert acceptance.readiness({}, "main") == {}
