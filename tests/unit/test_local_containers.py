"""Environment, payloads of volumes, logs, addresses and the OCI configuration, computed."""

import base64
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_chrek.local.node import cgroups, environment, launch, logs, network, oci, payload, security
from kubectl_chrek.local.node.environment import ConfigError, Facts, Reference

FACTS = Facts("10.0.0.1", "10.0.0.2")
POD = {
    "metadata": {"name": "p", "namespace": "n", "uid": "u", "labels": {"b": "2", "a": "1"}, "annotations": {"x": "y"}},
    "spec": {"nodeName": "local", "containers": [{"name": "c", "resources": {"limits": {"memory": "1Gi", "cpu": "1500m"}}}]},
}
MAP = {"kind": "ConfigMap", "data": {"k": "v"}, "binaryData": {"b": base64.b64encode(b"\xff").decode()}}
SECRET = {"kind": "Secret", "data": {"s": base64.b64encode(b"hush").decode()}}
OBJECTS = {Reference("ConfigMap", "map"): MAP, Reference("Secret", "sec"): SECRET}


def env(*entries, sources=()):
    return environment.environment(POD, {"name": "c", "env": list(entries), "envFrom": list(sources)}, OBJECTS, FACTS)


def ref(path):
    return {"name": "X", "valueFrom": {"fieldRef": {"fieldPath": path}}}


@pytest.mark.parametrize(
    ("text", "expected"),
    [("$(A)", "1"), ("$$(A)", "$(A)"), ("$(B)", "$(B)"), ("$A ${A} $", "$A ${A} $"), ("$(A)$(A)", "11"), ("$$$(A)", "$1")],
)
def test_expansion(text, expected):
    assert environment.expand(text, {"A": "1"}) == expected


@given(st.text(alphabet="ab(){} "))
def test_text_without_a_dollar_is_not_changed(text):
    assert environment.expand(text, {"a": "1", "b": "2"}) == text


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("metadata.name", "p"),
        ("metadata.namespace", "n"),
        ("metadata.uid", "u"),
        ("metadata.labels['a']", "1"),
        ("metadata.annotations['x']", "y"),
        ("metadata.labels['none']", ""),
        ("spec.nodeName", "local"),
        ("status.podIP", "10.0.0.1"),
        ("status.hostIP", "10.0.0.2"),
        ("metadata.labels", 'a="1"\nb="2"'),
    ],
)
def test_field_references(path, value):
    assert env(ref(path)) == {"X": value}


def test_later_variables_see_earlier_ones():
    assert env({"name": "A", "value": "1"}, {"name": "B", "value": "$(A)2"}, {"name": "C"}) == {"A": "1", "B": "12", "C": ""}


def test_whole_objects_become_variables():
    found = env(sources=[{"configMapRef": {"name": "map"}, "prefix": "P_"}, {"secretRef": {"name": "sec"}}])
    assert found == {"P_k": "v", "s": "hush"}


@pytest.mark.parametrize(
    ("resource", "divisor", "value"), [("limits.memory", "1Mi", "1024"), ("limits.cpu", "1", "2"), ("limits.cpu", "1m", "1500")]
)
def test_resource_references_round_up(resource, divisor, value):
    entry = {"name": "X", "valueFrom": {"resourceFieldRef": {"resource": resource, "divisor": divisor, "containerName": "c"}}}
    assert env(entry) == {"X": value}


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"configMapKeyRef": {"name": "none", "key": "k"}}, 'configmap "none" not found'),
        ({"secretKeyRef": {"name": "sec", "key": "z"}}, "couldn't find key z in Secret n/sec"),
        ({"fieldRef": {"fieldPath": "status.phase"}}, "unsupported fieldPath"),
    ],
)
def test_what_is_missing_is_named(source, message):
    with pytest.raises(ConfigError, match=message):
        env({"name": "X", "valueFrom": source})


def test_a_command_is_needed():
    with pytest.raises(ConfigError, match="no command specified"):
        environment.arguments({}, {})


def test_payload_follows_items_and_modes():
    volume = {
        "name": "v",
        "configMap": {
            "name": "map",
            "defaultMode": 0o600,
            "items": [{"key": "k", "path": "d/k"}, {"key": "b", "path": "b", "mode": 0o400}],
        },
    }
    assert payload.files(POD, volume, OBJECTS, FACTS) == {"d/k": payload.File(b"v", 0o600), "b": payload.File(b"\xff", 0o400)}


def test_projected_volumes_hold_all_their_sources():
    sources = [
        {"secret": {"name": "sec"}},
        {"downwardAPI": {"items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}},
        {"serviceAccountToken": {"path": "token"}},
        {"configMap": {"name": "none", "optional": True}},
    ]
    found = payload.files(POD, {"name": "v", "projected": {"sources": sources}}, OBJECTS, FACTS)
    assert {name: file.content for name, file in found.items()} == {"s": b"hush", "name": b"p", "token": b""}


def test_payload_is_written_behind_one_link(tmp_path):
    payload.write(tmp_path, {"a": payload.File(b"1", 0o400), "d/b": payload.File(b"2", 0o644)})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["..1", "..data", "a", "d"]
    assert (tmp_path / "d" / "b").read_bytes() == b"2"
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o400


# -- logs ----------------------------------------------------------------------------------------------------------------------


@given(st.binary().map(lambda data: data.replace(b"\n", b"")), st.booleans(), st.integers(0, 2**60))
def test_log_entries_survive_the_file(text, whole, moment):
    entry = logs.encode(moment, "stderr", text, whole=whole)
    line = logs.decode(entry[:-1])
    assert (line.stream, line.whole, line.text) == ("stderr", whole, text)
    assert logs.shown(line, timestamps=False) == text + (b"\n" if whole else b"")


def lines(*texts):
    return [
        logs.decode(logs.encode(second * 10**9, "stdout", text.encode().rstrip(b"~"), whole=not text.endswith("~"))[:-1])
        for second, text in enumerate(texts)
    ]


def texts(found):
    return [line.text.decode() for line in found]


def test_tail_counts_lines_and_not_their_parts():
    found = lines("a", "b~", "b", "c")
    assert texts(logs.select(found, tail=2, since=None)) == ["b", "b", "c"]
    assert texts(logs.select(found, tail=9, since=None)) == ["a", "b", "b", "c"]
    assert logs.select(found, tail=0, since=None) == []


def test_since_looks_at_the_time():
    assert texts(logs.select(lines("a", "b", "c"), tail=None, since=1)) == ["b", "c"]


async def test_a_log_takes_what_two_pipes_give_and_cuts_long_lines(tmp_path):
    log = logs.Log(tmp_path / "c" / "0.log")
    with os.fdopen(log.stream("stdout"), "wb") as out, os.fdopen(log.stream("stderr"), "wb") as err:
        out.write(b"x" * 20_000 + b"\nend")
        err.write(b"oops\n")
    await log.finish(10)
    found = [logs.decode(entry) for entry in log.path.read_bytes().splitlines()]
    assert sorted((line.stream, len(line.text), line.whole) for line in found) == [
        ("stderr", 4, True),
        ("stdout", 3, True),
        ("stdout", 3616, True),
        ("stdout", 16384, False),
    ]


# -- the container's configuration ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "image", ["localhost/host", "localhost/host:v1", "localhost/host@sha256:abc", "localhost/host:v1@sha256:abc"]
)
def test_the_one_image_has_any_tag(image):
    assert launch.image_problem(image) == ""


@pytest.mark.parametrize("image", ["host", "busybox", "localhost:5000/host", "localhost/hosts", "docker.io/localhost/host"])
def test_all_others_cannot_be_pulled(image):
    assert "localhost/host" in launch.image_problem(image)


def test_capabilities():
    have = set(security.DEFAULT_CAPABILITIES.split()) | {"SYS_ADMIN"}
    assert len(security.capabilities({}, have)) == 14
    assert security.capabilities({"capabilities": {"drop": ["ALL"], "add": ["CAP_KILL"]}}, have) == ["CAP_KILL"]
    assert "CAP_SYS_ADMIN" in security.capabilities({"capabilities": {"add": ["SYS_ADMIN"]}}, have)
    assert len(security.capabilities({"privileged": True}, have)) == 15
    assert security.capabilities({"capabilities": {"add": ["SYS_TIME"], "drop": ["ALL"]}}, have) == []


def test_effective_capabilities_are_read_from_proc():
    assert security.permitted("CapEff:\t0000000000000003\n") == {"CHOWN", "DAC_OVERRIDE"}


def around(**more):
    return oci.Surroundings(
        **(
            {
                "root": Path("/r"),
                "hostname": "p",
                "cgroup": "/g",
                "unified_cgroups": True,
                "network": Path("/n"),
                "available": {"KILL"},
            }
            | more
        )
    )


def test_the_configuration_puts_outer_mounts_first_and_keeps_a_given_shm():
    binds = [oci.Bind(Path("/s1"), "/a/b/c"), oci.Bind(Path("/s2"), "/a"), oci.Bind(Path("/s3"), "/dev/shm", read_only=True)]
    found = oci.config(POD, {"name": "c"}, ["true"], {"A": "1"}, around(binds=binds))
    targets = [mount["destination"] for mount in found["mounts"]]
    assert targets[-3:] == ["/a", "/dev/shm", "/a/b/c"]
    assert targets.count("/dev/shm") == 1
    assert found["process"]["env"][-1] == "A=1"
    assert {one["type"]: one.get("path") for one in found["linux"]["namespaces"]}["network"] == "/n"


def test_limits_become_cgroup_settings():
    container = {"name": "c", "resources": {"limits": {"cpu": "1500m", "memory": "1Gi"}}}
    resources = oci.config(POD, container, ["true"], {}, around())["linux"]["resources"]
    assert resources["cpu"] == {"shares": 1536, "quota": 150_000, "period": 100_000}
    assert resources["memory"] == {"limit": 2**30}


def test_a_privileged_container_sees_all_of_proc_and_every_device():
    container = {"name": "c", "securityContext": {"privileged": True}}
    linux = oci.config(POD, container, ["true"], {}, around())["linux"]
    assert "maskedPaths" not in linux
    assert linux["resources"]["devices"] == [{"allow": True, "access": "rwm"}]


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({}, "BestEffort"),
        ({"requests": {"cpu": "1"}}, "Burstable"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}}, "Guaranteed"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m", "memory": "1Gi"}}, "Burstable"),
    ],
)
def test_quality_of_service(resources, expected):
    assert cgroups.qos({"spec": {"containers": [{"resources": resources}]}}) == expected


@given(st.uuids())
def test_addresses_are_of_the_range_and_never_the_hosts(uid):
    found = network.candidates(str(uid))
    assert all(address in network.PODS and address not in (network.PODS[0], network.HOST, network.PODS[-1]) for address in found)
    assert len(network.name_of(str(uid))) <= 15
