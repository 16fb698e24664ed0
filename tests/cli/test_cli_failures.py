"""Every verb against an API server that fails in every way: one honest line, the right exit code, nothing half done."""

import json
import os
import signal
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

import pytest
import yaml

from kubectl_chrek.api.artifact_file import END, MAGIC, MANIFEST, OBJECT, Head, document
from kubectl_chrek.api.checkpoint import read_checkpoint
from kubectl_chrek.cli.main import Chrek

EXPORTED = "EXPORTED"
"""Stands for an artifact's file."""
IDENTITY = ("--model", "m", "--framework", "vllm", "--image", "i")
VERBS = {
    "ls": ["ls"],
    "ls name": ["ls", "x"],
    "ls yaml": ["ls", "-o", "yaml"],
    "ls watch": ["ls", "-w"],
    "describe": ["describe", "x"],
    "inspect": ["inspect", "x"],
    "diff": ["diff", "x", "y"],
    "events": ["events"],
    "events name": ["events", "x"],
    "events watch": ["events", "-w"],
    "logs": ["logs", "x"],
    "logs follow": ["logs", "x", "-f"],
    "prewarm": ["prewarm", *IDENTITY, "--wait", "--", "w"],
    "prewarm graph": ["prewarm", "--graph", "x"],
    "prewarm nodes": ["prewarm", "--checkpoint", "x", "--nodes", "n"],
    "pin": ["pin", "x", "--by", "me"],
    "unpin": ["unpin", "x"],
    "verify": ["verify", "x"],
    "verify all": ["verify", "--all"],
    "verify repair": ["verify", "x", "--repair"],
    "gc": ["gc", "--all", "--yes"],
    "gc now": ["gc", "--all", "--yes", "--now"],
    "undelete": ["undelete", "x"],
    "df": ["df"],
    "compat": ["compat"],
    "hash": ["hash", "--diff", "x", "y"],
    "doctor": ["doctor"],
    "version": ["version", "--server"],
    "export": ["export", "x", "no-such-directory/x.chrek"],
    "import": ["import", EXPORTED],
    "copy": ["copy", "x", "s3://bucket/prefix"],
}
WITHOUT_CLUSTER = {"completion", "demo", "tui"}
"""The TUI has tests of its own, and the demo brings its cluster with it."""
ALL = pytest.mark.parametrize("words", VERBS.values(), ids=VERBS.keys())


def status(code, reason, message):
    return code, {"kind": "Status", "apiVersion": "v1", "code": code, "reason": reason, "message": message}


class Handler(BaseHTTPRequestHandler):
    """Answers as the server's `mode` says and notes what was asked."""

    protocol_version = "HTTP/1.1"

    def respond(self):
        length = int(self.headers.get("Content-Length") or 0)
        self.rfile.read(length)
        self.server.asked.append((self.command, self.path))
        self.server.headers.append(self.headers)
        getattr(self, self.server.mode)()

    do_GET = do_POST = do_PATCH = do_DELETE = do_PUT = respond  # noqa: N815 - the library's names

    def send(self, code, body):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def forbidden(self):
        self.send(*status(403, "Forbidden", 'dynamocheckpoints.nvidia.com is forbidden: User "u" cannot do that'))

    def without_definitions(self):
        if "nvidia.com" in self.path or "apiextensions" in self.path:
            self.send(404, b"404 page not found\n")
        elif self.path == "/version":
            self.send(200, {"gitVersion": "v1.33.0"})
        elif self.command == "POST":
            self.send(201, {"status": {"allowed": True}})
        else:
            self.send(200, {"items": [], "metadata": {"resourceVersion": "1"}})

    def dropping(self):
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", "5000")
        self.end_headers()
        self.wfile.write(b'{"items": [')
        self.close_connection = True

    def nonsense(self):
        self.send(200, b"<html>a proxy</html>")

    def vanishing(self):
        """An object that is listed, but gone when one looks closer; whoever watches is told so, and then interrupted."""
        watched = [path for method, path in self.server.asked if "watch=true" in path]
        if self.path in watched[1:]:
            self.interrupting()
        elif self.path in watched:
            gone = {"type": "DELETED", "object": CHECKPOINT | {"metadata": CHECKPOINT["metadata"] | {"resourceVersion": "2"}}}
            self.send(200, json.dumps(gone).encode() + b"\n")
        elif self.command == "GET" and self.path.partition("?")[0].rpartition("/")[2] not in ("x", "y", "log", "version"):
            items = [CHECKPOINT] if "dynamocheckpoints" in self.path else []
            self.send(200, {"items": items, "metadata": {"resourceVersion": "1"}})
        elif self.command == "POST" or self.path == "/version":
            self.send(200, {"gitVersion": "v1.33.0", "status": {"allowed": True}, "metadata": {"name": "cfb060f4d0539cab"}})
        else:
            self.send(*status(404, "NotFound", 'dynamocheckpoints.nvidia.com "x" not found'))

    def many(self):
        """Ten thousand checkpoints and events, 500 at a time; `broken` is the piece at which the connection is lost.

        None of them changes: whoever watches is interrupted. Nothing else is there, but for all rights.
        """
        path, _, query = self.path.partition("?")
        plural = path.rpartition("/")[2]
        if "watch=true" in query:
            return self.interrupting()
        if plural not in ("dynamocheckpoints", "events"):
            empty = {"items": [], "gitVersion": "v1.33.0", "status": {"allowed": True}, "metadata": {"resourceVersion": "1"}}
            named = "/dynamocheckpoints/" in path or "apiextensions" in path
            return self.send(*status(404, "NotFound", "not found")) if named else self.send(200, empty)
        first = int(parse_qs(query).get("continue", ["0"])[0])
        if self.server.broken is not None and first >= self.server.broken:
            return self.dropping()
        items = [self.server.item(plural, number) for number in range(first, first + 500)]
        following = {"continue": str(first + 500)} if first + 500 < MANY else {}
        return self.send(200, {"items": items, "metadata": {"resourceVersion": "1"} | following})

    def interrupting(self):
        """One interrupt, however many requests are under way: a second one could hit the test itself."""
        if self.server.once.acquire(blocking=False):
            os.kill(os.getpid(), signal.SIGINT)
        self.server.over.wait(10)

    def log_message(self, *_):
        pass


MANY = 10_000
ARTIFACT = {"generation": "g", "bytes": 1}
CHECKPOINT = {
    "metadata": {"name": "x", "namespace": "default", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"},
    "spec": {"identity": {"model": "other", "backendFramework": "vllm"}, "job": {"podTemplateSpec": {}}},
    "status": {"phase": "Ready", "artifact": ARTIFACT},
}


class Server(ThreadingHTTPServer):
    """Says nothing about clients that leave."""

    daemon_threads = True
    captured = True
    """Whether the many checkpoints have an artifact."""

    def item(self, plural, number):
        """One of the many."""
        metadata = CHECKPOINT["metadata"] | {"name": f"c-{number:05}", "uid": f"u-{number}"}
        if plural == "events":
            return {"metadata": metadata, "involvedObject": {"kind": "DynamoCheckpoint", "name": f"c-{number:05}"}, "reason": "R"}
        return {"metadata": metadata, "spec": CHECKPOINT["spec"]} | ({"status": CHECKPOINT["status"]} if self.captured else {})

    def handle_error(self, request, client_address):
        pass


@pytest.fixture
def server():
    """A server on loopback; set `mode` to how it shall fail."""
    made = Server(("127.0.0.1", 0), Handler)
    made.asked, made.headers, made.over, made.once, made.broken = [], [], threading.Event(), threading.Lock(), None
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.over.set()
    made.shutdown()
    made.server_close()
    thread.join()


@pytest.fixture
def at(chrek, tmp_path):
    """Runs the command line against a port."""

    def run(port, words, *, context="c"):
        words = [str(exported(tmp_path)) if word == EXPORTED else word for word in words]
        config = {
            "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
            "users": [{"name": "u", "user": {"token": "t"}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "c",
        }
        path = tmp_path / "config"
        path.write_text(yaml.safe_dump(config))
        return chrek("--kubeconfig", str(path), "--context", context, "--request-timeout=5s", *words)

    return run


def exported(folder):
    """As much of an artifact's file as an import reads before it asks a cluster."""
    path = folder / "x.chrek"
    saved = {"apiVersion": "nvidia.com/v1alpha1", "kind": "DynamoCheckpoint"} | {
        "metadata": {"name": "x"},
        "spec": CHECKPOINT["spec"],
    }
    head = Head(read_checkpoint(CHECKPOINT).hash, "g", "0" * 64, 0, 0)
    parts = (head.part(), document(OBJECT, json.dumps(saved).encode()), document(MANIFEST, b"{}"), document(END, b'{"chunks": 0}'))
    path.write_bytes(MAGIC + b"".join(bytes(piece) for part in parts for piece in part.pieces))
    return path


def test_no_verb_is_forgotten():
    assert {words[0] for words in VERBS.values()} | WITHOUT_CLUSTER == set(Chrek.modules)


def honest(result):
    """No traceback, nothing unexpected, few lines."""
    assert "Traceback" not in result.err
    assert "unexpected" not in result.err
    lines = [line for line in result.err.splitlines() if not line.startswith("hint: ")]
    assert len(lines) <= 2
    return lines


@ALL
def test_no_cluster(at, words):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    result = at(port, words)
    assert honest(result)[0].startswith(f"Unable to connect to the server http://127.0.0.1:{port}: ")
    assert (result.code, result.out) == (1, "")


@ALL
def test_wrong_context(at, words):
    result = at(1, words, context="nowhere")
    assert honest(result)[0].startswith("error: no usable cluster configuration: there is no context nowhere in ")
    assert (result.code, result.out) == (1, "")


@ALL
def test_no_permission(at, server, words):
    server.mode = "forbidden"
    result = at(server.server_port, words)
    assert honest(result)[-1].startswith("Error from server (Forbidden): dynamocheckpoints.nvidia.com is forbidden")
    assert (result.code, result.out) == (1, "")


@pytest.mark.parametrize("verb", sorted(VERBS.keys() - {"doctor", "version", "events", "events watch"}))
def test_definitions_are_missing(at, server, verb):
    server.mode = "without_definitions"
    result = at(server.server_port, VERBS[verb])
    honest(result)
    assert (result.code, result.out) == (4, "")
    assert result.err.endswith("hint: a definition is not installed here: see `kubectl chrek doctor`\n")


def test_who_can_do_without_definitions(at, server):
    server.mode = "without_definitions"
    result = at(server.server_port, ["doctor"])
    assert "Traceback" not in result.err
    assert (result.code, "crd/dynamocheckpoints.nvidia.com" in result.out) == (1, True)
    for words in (["version", "--server"], ["events"]):
        assert at(server.server_port, words).code == 0


@ALL
@pytest.mark.parametrize("mode", ["dropping", "nonsense"])
def test_half_an_answer(at, server, words, mode):
    server.mode = mode
    result = at(server.server_port, words)
    assert honest(result)
    assert (result.code, result.out) == (1, "")


GONE = {"ls": 0, "ls yaml": 0, "events": 0, "df": 0, "gc": 0, "gc now": 0, "version": 0, "compat": 5, "import": 5} | {
    "doctor": 1,
    "prewarm": 5,
    "ls watch": 130,
    "events watch": 130,
}
"""What it comes to where that is no `not found`: whoever only lists sees what there was, a collection wants it gone anyway,
`import` and `compat` miss an agent first. To `doctor` nothing can happen meanwhile, because it looks at no object twice: it finds
what else that server lacks. `prewarm` waits for what it made, in vain."""


@pytest.mark.parametrize("verb", VERBS)
def test_an_object_that_is_deleted_meanwhile(at, server, verb):
    server.mode = "vanishing"
    words = VERBS[verb] + (["--wait=false"] if verb == "gc now" else [])
    result = at(server.server_port, words)
    honest(result)
    assert result.code == GONE.get(verb, 4)
    if verb == "prewarm":
        assert result.err == "error: checkpoint cfb060f4d0539cab was deleted while we waited for it\n"
    if verb == "ls watch":
        assert [line.split()[0] for line in result.out.splitlines()] == ["NAME", "x", "x"]


@ALL
def test_an_interrupt(at, server, words):
    server.mode = "interrupting"
    result = at(server.server_port, words)
    assert (result.code, result.out, result.err) == (130, "", "")
    # A command may ask several things at once, but after the interrupt it changes nothing any more.
    assert {method for method, _ in server.asked} <= {"GET"}


def test_who_asks_and_whom(at, server):
    server.mode = "vanishing"
    words = [
        "ls",
        "--server",
        f"http://127.0.0.1:{server.server_port}",
        "--token=other",
        "--as=alice",
        "--as-group=a",
        "--as-group=b",
    ]
    assert at(1, words).code == 0
    sent = server.headers[0]
    assert (sent["Authorization"], sent["Impersonate-User"]) == ("Bearer other", "alice")
    assert sent.get_all("Impersonate-Group") == ["a", "b"]
    for kind in ("cluster", "user"):
        result = at(1, ["ls", f"--{kind}=nowhere"])
        assert honest(result)[0].startswith(f"error: no usable cluster configuration: there is no {kind} nowhere in ")
    assert at(server.server_port, ["ls", "--cluster=c", "--user=u"]).code == 0


LISTING = {
    "ls": (0, MANY + 1),
    "ls --sort-by=.metadata.name --no-headers": (0, MANY),
    "ls -o name": (0, MANY),
    "ls -o custom-columns=NAME:.metadata.name": (0, MANY + 1),
    "ls -w": (130, MANY + 1),
    "events": (0, MANY + 1),
    "events -w -o name": (130, MANY),
    "df": (0, 2),
    "df -v": (0, MANY + 1),
    "gc --all --dry-run=client": (0, 2 * MANY + 1),
    "gc --failed": (0, 0),
    "prewarm --model=other --framework=vllm": (0, 1),
    "compat": (5, 0),
    "doctor": (1, 19),
    "hash 0123456789abcdef": (4, 0),
    "version --server": (0, 2),
}
ONE_BY_ONE = {"describe", "inspect", "diff", "logs", "pin", "unpin", "undelete", "export", "import", "copy"}
"""They ask for what they are told by name, and list at most its pods or the agents."""


@pytest.mark.parametrize("words", LISTING)
def test_ten_thousand_objects(at, server, words):
    server.mode = "many"
    result = at(server.server_port, words.split())
    code, lines = LISTING[words]
    assert (result.code, len(result.out.splitlines())) == (code, lines), result.err
    if words != "doctor":
        honest(result)


def test_ten_thousand_objects_as_a_document(at, server):
    server.mode = "many"
    found = json.loads(at(server.server_port, ["ls", "-o", "json"]).out)
    assert [item["metadata"]["name"] for item in found.pop("items")] == [f"c-{number:05}" for number in range(MANY)]
    assert found == {"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}}


def test_ten_thousand_objects_of_which_none_is_captured(at, server):
    server.mode, server.captured = "many", False
    for words in (["verify", "--all"], ["df"]):
        result = at(server.server_port, words)
        assert (result.code, result.out, result.err) == (0, "", "No artifacts found in default namespace.\n")


def test_no_verb_that_lists_is_forgotten():
    assert {words.split()[0] for words in LISTING} | {"verify"} | ONE_BY_ONE | WITHOUT_CLUSTER == set(Chrek.modules)


@pytest.mark.parametrize(
    "words", ["ls", "ls -o name", "df", "gc --all --yes", "verify --all", "prewarm --model=m --framework=vllm"]
)
def test_a_list_that_is_cut_off_changes_nothing(at, server, words):
    server.mode, server.broken = "many", 1500
    result = at(server.server_port, words.split())
    assert honest(result)[-1].startswith("Unable to connect to the server")
    assert result.code == 1
    assert {method for method, _ in server.asked} == {"GET"}
    # What was printed of a list that long was true; nothing else prints half of what it found.
    assert len(result.out.splitlines()) == (1001 if words == "ls" else 0)
