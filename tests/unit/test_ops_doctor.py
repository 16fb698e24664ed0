"""What `doctor` says of nodes, leases, checkpoints and the cluster's objects."""

from datetime import UTC, datetime, timedelta

import pytest

from kubectl_chrek.api.checkpoint import read_checkpoint
from kubectl_chrek.api.crds import load_crds
from kubectl_chrek.api.errors import NotFoundError
from kubectl_chrek.api.node import read_node
from kubectl_chrek.ops.doctor_checkpoints import check_checkpoints, check_leases
from kubectl_chrek.ops.doctor_cluster import check_claims, check_definitions, check_operator, check_webhook
from kubectl_chrek.ops.doctor_nodes import check_agents
from kubectl_chrek.ops.findings import counts, worst
from kubectl_chrek.ops.operators import image_version

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


def told(findings):
    return [(each.name, each.verdict) for each in findings]


def ago(**kind):
    return (NOW - timedelta(**kind)).isoformat()


def agent(name, *, heard=5, version="1.0", checks=(), **status):
    status |= {"agent": {"version": version, "heartbeatAt": ago(seconds=heard)}, "checks": list(checks)}
    return read_node({"metadata": {"name": name}, "status": status})


def gpu_node(name, gpus="8"):
    return {"metadata": {"name": name}, "status": {"allocatable": {"nvidia.com/gpu": gpus}}}


def test_each_gpu_node_needs_an_agent():
    nodes = [gpu_node("a"), gpu_node("b"), gpu_node("cpu", "0")]
    assert told(check_agents([agent("a"), agent("b")], nodes, NOW, version="1.0"))[0] == ("agents", "ok")
    missing = check_agents([agent("a")], nodes, NOW, version="1.0")[0]
    assert (missing.verdict, missing.message) == ("fail", "GPU nodes without an agent: b")
    assert told(check_agents([], nodes, NOW, version="1.0")) == [("agents", "fail")]
    assert told(check_agents([agent("a")], None, NOW, version="1.0"))[0] == ("agents", "ok")


def test_agents_are_alive_and_of_one_version_and_well():
    bad = {"name": "io_uring", "verdict": "warn", "message": "is enabled", "fix": "sysctl -w kernel.io_uring_disabled=2"}
    nodes = [agent("a", heard=3600), agent("b", version="0.9"), agent("c", checks=[bad, {"name": "criu", "verdict": "ok"}])]
    findings = check_agents(nodes, [], NOW, version="1.0")
    assert told(findings)[1:] == [("node/a", "fail"), ("node/b/version", "warn"), ("node/c/io_uring", "warn")]
    assert findings[3].fix == "sysctl -w kernel.io_uring_disabled=2"
    assert (worst(findings), counts(findings)) == ("fail", {"ok": 1, "warn": 2, "fail": 1})


@pytest.mark.parametrize(("free", "verdict"), [(50, "ok"), (9, "warn"), (1, "fail")])
def test_room_in_the_store_is_told_once(free, verdict):
    store = {"type": "pvc", "location": "/c", "freeBytes": free, "totalBytes": 100}
    findings = check_agents([agent("a", store=store), agent("b", store=store)], [], NOW, version="1.0")
    assert [each for each in told(findings) if each[0] == "store"] == [("store", verdict)]


def test_leases():
    spec = {"holderIdentity": "a", "renewTime": ago(seconds=400)}
    stuck = {"metadata": {"name": "chrek-x", "namespace": "n"}, "spec": spec}
    fresh = {"metadata": {"name": "chrek-y", "namespace": "n"}, "spec": spec | {"renewTime": ago(seconds=4)}}
    other = {"metadata": {"name": "leader", "namespace": "n"}, "spec": spec}
    findings = check_leases([stuck, fresh, other], NOW)
    assert [each.fix for each in findings] == ["kubectl delete -n n lease/chrek-x"]
    assert told(check_leases([fresh, other], NOW)) == [("leases", "ok")]


def checkpoint(name, *, age=60, metadata=None, **status):
    found = {"name": name, "namespace": "n", "creationTimestamp": ago(seconds=age)} | (metadata or {})
    return read_checkpoint({"metadata": found, "spec": {}, "status": status})


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (checkpoint("a", phase="Failed", message="no GPU"), "failed: no GPU"),
        (checkpoint("a", phase="Failed"), "failed: no reason was given"),
        (checkpoint("a", age=120), "no operator has looked at it"),
        (checkpoint("a", phase="Ready"), "is Ready without an artifact"),
        (checkpoint("a", phase="Creating", age=7200), "is Creating since 120m"),
        (
            checkpoint("a", phase="Ready", metadata={"deletionTimestamp": ago(hours=1)}),
            "is being deleted since 60m, which waits for an agent",
        ),
    ],
)
def test_checkpoints_that_need_a_person(found, message):
    finding = check_checkpoints([found], NOW)[0]
    assert (finding.verdict, finding.message) == ("warn", message)
    assert finding.fix


def test_checkpoints_that_are_well_and_those_that_are_too_many():
    artifact = {"generation": "g"}
    well = [checkpoint("a", phase="Ready", artifact=artifact), checkpoint("b", phase="Creating"), checkpoint("c", age=30)]
    assert told(check_checkpoints(well, NOW)) == [("checkpoints", "ok"), ("cold-starts", "ok")]
    many = [checkpoint(f"c{number}", phase="Failed") for number in range(9)]
    assert [each.message for each in check_checkpoints(many, NOW)][5] == "4 more are failed or stuck"


def test_cold_starts_tell_why():
    restore = {"result": "cold", "pod": "p", "cause": "Incompatible", "reason": "driver", "at": ago(minutes=5)}
    finding = check_checkpoints([checkpoint("a", phase="Ready", artifact={"generation": "g"}, lastRestore=restore)], NOW)[-1]
    assert finding.message == "pod p started cold 5m ago: Incompatible: driver"
    assert finding.fix == "kubectl chrek logs -n n a --only agent,worker"


class Objects:
    """A cluster of a few objects by plural."""

    def __init__(self, **found):
        self.found = found

    async def list(self, resource, namespace="", **_):
        if resource.plural not in self.found:
            raise NotFoundError("no such kind")
        return self.found[resource.plural]

    async def get(self, resource, name, namespace=""):
        for body in self.found.get(resource.plural, ()):
            if body["metadata"]["name"] == name:
                return body
        raise NotFoundError("no")


async def test_definitions():
    established = {"conditions": [{"type": "Established", "status": "True"}]}
    complete = [definition | {"status": established} for definition in load_crds()]
    assert told(await check_definitions(Objects(customresourcedefinitions=complete))) == [("crds", "ok")]
    missing = await check_definitions(Objects(customresourcedefinitions=complete[1:]))
    assert [(each.verdict, each.message) for each in missing] == [("fail", "is not installed")]
    unserved = [complete[0] | {"status": {}}, *complete[1:]]
    assert [each.message for each in await check_definitions(Objects(customresourcedefinitions=unserved))] == ["is not served yet"]
    old = [each | {"spec": {"versions": []}} for each in complete if each["metadata"]["name"].startswith("dynamocheckpoints")]
    found = await check_definitions(Objects(customresourcedefinitions=[*old, *complete]))
    assert [each.verdict for each in found] == ["warn"]
    assert "status.artifact" in found[0].message


def deployment(image, available=1):
    template = {"spec": {"containers": [{"image": image}]}}
    status = {"availableReplicas": available}
    return {"metadata": {"name": "chrek-operator", "namespace": "s"}, "spec": {"template": template}, "status": status}


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        ([], "warn"),
        ([deployment("r/chrek:v1.0")], "ok"),
        ([deployment("r/chrek:1.1")], "warn"),
        ([deployment("r/chrek:latest")], "ok"),
        ([deployment("r/chrek:1.0", 0)], "fail"),
    ],
)
async def test_the_operator(found, verdict):
    assert told(await check_operator(Objects(deployments=found, pods=[]), "1.0")) == [("operator", verdict)]


@pytest.mark.parametrize(
    ("phase", "version", "verdict"), [("Running", "1.0", "ok"), ("Running", "1.1", "warn"), ("Failed", "1.0", "fail")]
)
async def test_an_operator_without_a_deployment(phase, version, verdict):
    pod = {"metadata": {"namespace": "s"}, "spec": {"containers": [{"image": f"o:{version}"}]}, "status": {"phase": phase}}
    assert told(await check_operator(Objects(deployments=[], pods=[pod]), "1.0")) == [("operator", verdict)]


@pytest.mark.parametrize(
    ("image", "version"),
    [("a/b:v1.2@sha256:0", "1.2"), ("host:5000/b", ""), ("host:5000/b:2", "2"), ("b", ""), ("b:main", "")],
)
def test_versions_of_images(image, version):
    assert image_version(image) == version


def claim(phase="Bound", modes=("ReadWriteMany",)):
    spec, status = {"accessModes": list(modes)}, {"phase": phase, "accessModes": list(modes)}
    return {"metadata": {"name": "chrek-pvc", "namespace": "n"}, "spec": spec, "status": status}


@pytest.mark.parametrize(
    ("found", "verdict"), [(claim(), "ok"), (claim("Pending"), "fail"), (claim(modes=["ReadWriteOnce"]), "warn")]
)
async def test_claims(found, verdict):
    assert [each.verdict for each in await check_claims(Objects(persistentvolumeclaims=[found]), "n")] == [verdict]
    assert await check_claims(Objects(), "n") == []


@pytest.mark.parametrize(
    ("hook", "verdict"),
    [
        ({"name": "h", "clientConfig": {"caBundle": "x"}, "failurePolicy": "Ignore"}, "ok"),
        ({"name": "h", "clientConfig": {"caBundle": "x"}, "failurePolicy": "Fail"}, "warn"),
        ({"name": "h", "clientConfig": {}}, "fail"),
    ],
)
async def test_the_webhook(hook, verdict):
    found = [{"metadata": {"name": "chrek-restore"}, "webhooks": [hook]}, {"metadata": {"name": "other"}}]
    assert told(await check_webhook(Objects(mutatingwebhookconfigurations=found))) == [("webhook", verdict)]
    assert told(await check_webhook(Objects())) == [("webhook", "ok")]
