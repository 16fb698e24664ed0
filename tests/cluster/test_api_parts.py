"""The parts of the embedded API server that need no server."""

from datetime import UTC, datetime, timedelta

import pytest

from kubectl_chrek.local.apiserver.failures import ApiError
from kubectl_chrek.local.apiserver.objects import timestamp
from kubectl_chrek.local.apiserver.patching.strategic import strategic_patch
from kubectl_chrek.local.apiserver.paths import Place, parse
from kubectl_chrek.local.apiserver.protobuf import decode
from kubectl_chrek.local.apiserver.store import Store
from kubectl_chrek.local.apiserver.tables.durations import age, human
from kubectl_chrek.local.apiserver.tables.jsonpath import find
from kubectl_chrek.local.apiserver.tables.pods import PODS

MINUTE, HOUR, DAY, YEAR = 60, 3600, 86400, 365 * 86400


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (-5, "<invalid>"),
        (-1, "0s"),
        (119, "119s"),
        (2 * MINUTE, "2m"),
        (9 * MINUTE + 5, "9m5s"),
        (10 * MINUTE + 5, "10m"),
        (179 * MINUTE, "179m"),
        (3 * HOUR + 20 * MINUTE, "3h20m"),
        (8 * HOUR + 20 * MINUTE, "8h"),
        (47 * HOUR, "47h"),
        (3 * DAY + 2 * HOUR, "3d2h"),
        (8 * DAY + 2 * HOUR, "8d"),
        (YEAR, "365d"),
        (2 * YEAR + 3 * DAY, "2y3d"),
        (9 * YEAR, "9y"),
    ],
)
def test_durations_as_kubectl_prints_them(seconds, expected):
    assert human(seconds) == expected


def test_ages():
    assert age(timestamp(datetime.now(UTC) - timedelta(days=10))) == "10d"
    assert age(None) == "<unknown>"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (".a.b", [1]),
        (".a['b']", [1]),
        (".list[1].n", ["y"]),
        (".list[-1].n", ["y"]),
        (".list[*].n", ["x", "y"]),
        ('.list[?(@.n=="x")].v', [True]),
        (r".labels.example\.com/x", ["z"]),
        (".none.b", []),
        ("nonsense", []),
    ],
)
def test_paths_of_printer_columns(path, expected):
    body = {"a": {"b": 1}, "list": [{"n": "x", "v": True}, {"n": "y"}], "labels": {"example.com/x": "z"}}
    assert find(path, body) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/api/v1/namespaces/n", Place("", "v1", "namespaces", "", "n")),
        ("/api/v1/namespaces/n/status", Place("", "v1", "namespaces", "", "n", "status")),
        ("/api/v1/namespaces/n/pods/p/log", Place("", "v1", "pods", "n", "p", "log")),
        ("/apis/g/v/ks", Place("g", "v", "ks")),
        ("/apis/g/v/namespaces/n/ks/k", Place("g", "v", "ks", "n", "k")),
        ("/api/v1/namespaces/n/pods/p/log/more", None),
        ("/metrics", None),
    ],
)
def test_paths_of_resources(path, expected):
    assert parse(path) == expected


def config_map(name, data=None):
    return {"metadata": {"name": name, "namespace": "n"}, "data": data or {}}


def test_a_version_that_left_the_history_has_expired():
    store = Store(history=2)
    written = [store.put("configmaps", config_map("a", {"x": str(index)})) for index in range(4)]
    versions = [int(body["metadata"]["resourceVersion"]) for body in written]
    assert [change.type for change in store.changes("configmaps", versions[1])] == ["MODIFIED", "MODIFIED"]
    with pytest.raises(ApiError, match="too old resource version"):
        store.changes("configmaps", versions[0])
    assert store.changes("pods", versions[0]) == []


def test_damaged_protobuf_is_a_bad_request():
    namespace = b"k8s\x00\n\x0f\n\x02v1\x12\tNamespace\x12\x05\n\x03\n\x01a"
    assert decode(namespace) == {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "a"}}
    for damaged in (namespace[:-1], b"nonsense", namespace.replace(b"\x12\x05", b"\x12\xff\x01")):
        with pytest.raises(ApiError) as raised:
            decode(damaged)
        assert raised.value.code == 400


def test_a_kind_unknown_in_protobuf_is_an_unsupported_media_type():
    with pytest.raises(ApiError) as raised:
        decode(b"k8s\x00\n\x0a\n\x02v1\x12\x04Some")
    assert raised.value.code == 415


def test_ports_merge_by_the_key_of_their_own_kind():
    service = {"spec": {"ports": [{"port": 80, "name": "a"}]}}
    patch = {"spec": {"ports": [{"port": 81}]}}
    assert [port["port"] for port in strategic_patch(service, patch, "Service")["spec"]["ports"]] == [80, 81]
    containers = [{"name": "main", "ports": [{"containerPort": 80, "protocol": "TCP"}]}]
    patch = {"spec": {"containers": [{"name": "main", "ports": [{"containerPort": 80, "name": "web"}]}]}}
    merged = strategic_patch({"spec": {"containers": containers}}, patch, "Pod")
    assert merged["spec"]["containers"][0]["ports"] == [{"containerPort": 80, "protocol": "TCP", "name": "web"}]


RUNNING = {"running": {}}


@pytest.mark.parametrize(
    ("status", "metadata", "expected"),
    [
        ({"phase": "Pending"}, {}, ("0/1", "Pending")),
        ({"containerStatuses": [{"ready": True, "state": RUNNING}]}, {}, ("1/1", "Running")),
        ({"containerStatuses": [{"state": {"waiting": {"reason": "CrashLoopBackOff"}}}]}, {}, ("0/1", "CrashLoopBackOff")),
        ({"containerStatuses": [{"state": {"terminated": {"exitCode": 3}}}]}, {}, ("0/1", "ExitCode:3")),
        ({"containerStatuses": [{"state": {"terminated": {"reason": "Error", "exitCode": 1}}}]}, {}, ("0/1", "Error")),
        ({"initContainerStatuses": [{"state": RUNNING}]}, {}, ("0/1", "Init:0/1")),
        ({"reason": "Evicted", "phase": "Failed"}, {}, ("0/1", "Evicted")),
        ({}, {"deletionTimestamp": "2026-01-01T00:00:00Z"}, ("0/1", "Terminating")),
    ],
)
def test_the_status_column_of_pods(status, metadata, expected):
    body = {
        "metadata": {"name": "p"} | metadata,
        "spec": {"containers": [{"name": "main"}]},
        "status": {"phase": "Running"} | status,
    }
    assert tuple(PODS["pods"].row(body)[1:3]) == expected
