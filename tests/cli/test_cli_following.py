"""What goes on for ever: `logs -f`, `events -w`."""

import pytest

from kubectl_chrek.api.errors import ClusterError
from kubectl_chrek.cluster.resources import EVENTS, PODS


def test_logs_follow_pods_that_come_later(chrek, fleet):
    labels = {"nvidia.com/checkpoint-name": "used"}
    spec = {"nodeName": "new", "containers": [{"name": "main"}]}
    later = fleet.put(PODS, "worker-c", metadata={"labels": labels}, spec=spec, status={"phase": "Running"})
    waiting = later | {"status": {"phase": "Pending"}}
    del fleet.objects["pods", "default", "worker-c"]
    fleet.logs["worker-c"] = ["2026-01-31T11:00:03Z late", ClusterError("cut off")]
    fleet.changes = [("ADDED", waiting), ("MODIFIED", later), ("MODIFIED", later)]
    result = chrek("logs", "used", "-f", "--only", "worker")
    assert result.out == "[worker/worker-b] restored\n[worker/worker-c] late\n"
    assert (result.code, result.err) == (1, "error: cut off\n")


def test_a_log_that_cannot_be_read_hides_no_other(chrek, fleet):
    fleet.logs["worker-b"] = [ClusterError("Error from server (Forbidden): no", status=403)]
    result = chrek("logs", "used", "--only", "job,worker")
    assert result.out.splitlines()[0] == "[job/checkpoint-used-a] loading"
    assert (result.code, result.err) == (6, "Error from server (Forbidden): no\n")
    assert chrek("logs", "used", "--only", "kubelet").code == 2


@pytest.mark.parametrize(("words", "reasons"), [(["used"], ["R", "R", "New"]), ([], ["R", "New"])])
def test_events_as_they_come(chrek, fleet, words, reasons):
    event = fleet.put(EVENTS, "e4", involvedObject={"kind": "DynamoCheckpoint", "name": "used"}, reason="New", type="Warning")
    del fleet.objects["events", "default", "e4"]
    stranger = event | {"involvedObject": {"kind": "Pod", "name": "stranger"}}
    fleet.changes = [("ADDED", stranger), ("ADDED", event), ("DELETED", event), ClusterError("gone")]
    result = chrek("events", *words, "-w")
    header, *lines = result.out.splitlines()
    start = header.index("REASON")
    assert [line[start:].split()[0] for line in lines] == reasons
