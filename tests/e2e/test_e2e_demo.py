"""The demo's own worker: two copies at once of one capture are the model that was captured, and draw numbers of their own."""

import asyncio
import json
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIBRARIES = ROOT / ".cache" / "demo"
TEXT = "A capture is worth minutes."

pytestmark = pytest.mark.skipif(not (LIBRARIES / ".stamp").exists(), reason="needs the demo's model: run scripts/install-demo")


@pytest.fixture
def embedding(lab):
    """The lab, with the demo's worker."""
    lab.worker = lambda *_: {
        "name": "main",
        "image": "localhost/host",
        "command": ["/usr/bin/python3", str(ROOT / "demo" / "worker.py"), "--port", "8000"],
        "env": [{"name": "PYTHONPATH", "value": str(LIBRARIES)}],
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": 8000}, "periodSeconds": 1},
    }
    return lab


def embed(pod):
    request = urllib.request.Request(
        f"http://{pod['status']['podIP']}:8000/v1/embeddings",
        json.dumps({"input": TEXT}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)["data"][0]["embedding"]


async def test_two_copies_at_once_are_one_model(embedding):
    name = await embedding.prewarm("sentence-transformers/all-MiniLM-L6-v2")
    assert (await embedding.settled(name)).phase == "Ready"
    await embedding.graph(name, replicas=2)
    first = await embedding.ready_pod(name)
    second = await embedding.ready_pod(name, beside=frozenset({first["metadata"]["name"]}))
    assert [embedding.startup(pod)["result"] for pod in (first, second)] == ["restored", "restored"]
    one, two = await asyncio.gather(*(asyncio.to_thread(embed, pod) for pod in (first, second)))
    assert one == two
    assert len(one) == 384
    states = [embedding.ask(pod) for pod in (first, second)]
    assert states[0]["started_at"] == states[1]["started_at"]  # Once, for both: neither has loaded anything.
    assert states[0]["hostname"] != states[1]["hostname"]
    one, two = (embedding.ask(pod, "/draw") for pod in (first, second))
    assert one.keys() == two.keys() == {"python", "numpy", "torch"}
    assert [generator for generator in one if one[generator] == two[generator]] == []
