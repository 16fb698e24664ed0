"""From an event to the keys it concerns."""

from chrek_operator.reconciler import Key
from chrek_operator.routes import Routes
from kubectl_chrek.cluster.resources import CHECKPOINTS, DEPLOYMENTS, GRAPHS, JOBS


def body(name, *, labels=None, status=None):
    return {"metadata": {"name": name, "namespace": "ns", "uid": name, "labels": labels}, "status": status}


def test_children_lead_to_what_they_were_made_for():
    routes = Routes()
    job = body("checkpoint-x", labels={"nvidia.com/checkpoint-name": "x"})
    deployment = body("g-worker", labels={"nvidia.com/dynamo-graph-deployment-name": "g"})
    assert routes.keys(JOBS, job, deleted=True) == [Key("checkpoint", "ns", "x")]
    assert routes.keys(DEPLOYMENTS, deployment) == [Key("graph", "ns", "g")]
    assert routes.keys(JOBS, body("other")) == []


def test_a_checkpoint_concerns_the_graphs_beside_it_only_when_it_matters_to_them():
    routes = Routes()
    block = {"enabled": True, "checkpointRef": "x"}
    routes.keys(GRAPHS, body("g") | {"spec": {"services": {"W": {"checkpoint": block}}}})
    routes.keys(GRAPHS, body("other") | {"spec": {"services": {"W": {"checkpoint": block | {"checkpointRef": "y"}}}}})
    checkpoint, graph = Key("checkpoint", "ns", "x"), Key("graph", "ns", "g")
    creating = {"phase": "Creating", "progress": {"bytesDone": 1}}
    assert routes.keys(CHECKPOINTS, body("x", status=creating)) == [checkpoint, graph]
    assert routes.keys(CHECKPOINTS, body("x", status=creating | {"progress": {"bytesDone": 2}})) == []
    assert routes.keys(CHECKPOINTS, body("x", status=creating | {"failure": "no room"})) == [checkpoint]
    assert routes.keys(CHECKPOINTS, body("x", status={"phase": "Ready", "artifact": {"generation": "1"}})) == [checkpoint, graph]
    assert routes.keys(CHECKPOINTS, body("x"), deleted=True) == [checkpoint, graph]
    routes.keys(GRAPHS, body("g"), deleted=True)
    assert routes.keys(CHECKPOINTS, body("x", status=creating)) == [checkpoint]
