"""The demo's worker over HTTP, with an engine that needs no torch, and the objects that the demo applies."""

import http.client
import importlib.util
import json
import threading
from pathlib import Path

import pytest
import yaml

from kubectl_chrek.api.graph import read_checkpoints
from kubectl_chrek.api.rendering import render_pod_template

DEMO = Path(__file__).parents[2] / "demo"


@pytest.fixture(scope="module")
def worker():
    spec = importlib.util.spec_from_file_location("demo_worker", DEMO / "worker.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class FakeEngine:
    load_seconds = 1.0
    served = 0

    def embed(self, texts):
        self.served += 1
        return [[float(len(text))] for text in texts], len(texts)

    def draw(self):
        return {"python": 0.5}


@pytest.fixture
def connection(worker, monkeypatch):
    monkeypatch.setattr(worker.Handler, "engine", FakeEngine(), raising=False)
    with worker.Server(("127.0.0.1", 0), worker.Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        connection = http.client.HTTPConnection("127.0.0.1", server.server_port)
        yield connection
        connection.close()
        server.shutdown()
        thread.join()


def ask(connection, method, path, body=None, **headers):
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    text = response.read().decode()
    assert text.count("\n") == 1
    return response.status, json.loads(text)


def test_embeddings_have_the_shape_of_openai_and_count_as_requests(connection):
    assert ask(connection, "GET", "/healthz") == (200, {"status": "ok"})
    before = ask(connection, "GET", "/")[1]
    status, one = ask(connection, "POST", "/v1/embeddings", '{"input": "four"}')
    assert (status, one["object"], one["data"]) == (200, "list", [{"object": "embedding", "index": 0, "embedding": [4.0]}])
    assert one["usage"] == {"prompt_tokens": 1, "total_tokens": 1}
    _, two = ask(connection, "POST", "/v1/embeddings", '{"input": ["a", "bc"]}')
    assert [entry["embedding"] for entry in two["data"]] == [[1.0], [2.0]]
    after = ask(connection, "GET", "/")[1]
    assert (before["requests"], after["requests"]) == (0, 2)
    assert after["started_at"] == before["started_at"]
    assert after["uptime_seconds"] >= before["uptime_seconds"] > 0


def test_a_number_is_drawn(connection):
    assert ask(connection, "GET", "/draw") == (200, {"python": 0.5})


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ("{", "body: not JSON"),
        ("[" * 100_000, "body: not JSON"),
        (b"\xff", "body: not JSON"),
        ("[]", "body: expected"),
        ('{"inputs": "a"}', "body: expected"),
        ('{"input": 1}', "input: expected a string"),
        ('{"input": ["a", 1]}', "input: expected a string"),
        ('{"input": []}', "input: expected 1 to 256 strings, got 0"),
        ('{"input": "\\ud800"}', "input: holds half a surrogate pair"),
    ],
)
def test_a_bad_request_is_told_why_in_one_line_and_the_connection_lives(connection, body, complaint):
    status, answer = ask(connection, "POST", "/v1/embeddings", body)
    assert status == 400
    assert answer["error"]["message"].startswith(complaint)
    assert ask(connection, "GET", "/")[1]["requests"] == 0


@pytest.mark.parametrize("length", ["-1", "x", "4194305", "9" * 5000])
def test_a_body_without_a_usable_length_is_refused(connection, length):
    status, answer = ask(connection, "POST", "/v1/embeddings", None, **{"Content-Length": length})
    assert status == 400
    assert answer["error"]["message"].startswith("Content-Length: expected 0 to 4194304")


@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/embeddings"), ("POST", "/")])
def test_other_paths_are_not_found(connection, method, path):
    assert ask(connection, method, path, "{}" if method == "POST" else None)[0] == 404


def test_the_graph_runs_the_worker_from_a_checkpoint_of_its_model(worker):
    text = (DEMO / "graph.yaml").read_text().replace("${DEMO_ROOT}", "/demo").replace("${SITE}", "/site")
    assert "${" not in text
    graph = yaml.safe_load(text)
    (checkpoint,) = read_checkpoints(graph)
    assert checkpoint.creates
    assert checkpoint.identity.model == worker.MODEL
    (container,) = render_pod_template(graph, "Worker")["spec"]["containers"]
    assert container["command"] == ["/usr/bin/python3", "/demo/worker.py", "--port", "8000"]
    assert container["env"] == [{"name": "PYTHONPATH", "value": "/site"}]
    assert container["readinessProbe"]["httpGet"] == {"path": "/healthz", "port": 8000}
