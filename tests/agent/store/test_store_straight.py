"""Ranges straight into memory: the right answer alone counts, and what goes wrong is left to the client that is patient."""

import os
import socketserver
import threading

import pytest

from chrek_agent.store import s3, straight
from chrek_agent.store.oci.client import Client
from chrek_agent.store.patience import Patience
from chrek_agent.store.straight import LEAST, REST, Straight, parse_head

LARGE = 8 * LEAST
CONTENT = os.urandom(2 * LEAST)
OFFSET = 4096


def answer(status=206, content=CONTENT[OFFSET : OFFSET + LEAST], length=LEAST, start=OFFSET, more=""):
    told = f"Content-Range: bytes {start}-{start + length - 1}/{len(CONTENT)}\r\ncontent-length: {length}\r\n{more}\r\n"
    return f"HTTP/1.1 {status} Whatever It Is\r\n{told}".encode() + content


GOOD = answer()


class Scripted(socketserver.ThreadingTCPServer):
    """Answers each request by the next of its answers, and hangs up after one that is not whole; silent once there are none."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers, self.requests, self.connections = [], [], 0
        self.ended = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v2/a?b=c"


class _Handler(socketserver.BaseRequestHandler):
    def handle(self):
        self.server.connections += 1
        while head := self._head():
            self.server.requests.append(head)
            if not self.server.answers:
                self.server.ended.wait()
                return
            said = self.server.answers.pop(0)
            self.request.sendall(said)
            if said != GOOD:
                return

    def _head(self):
        head = b""
        while not head.endswith(b"\r\n\r\n") and (piece := self.request.recv(4096)):
            head += piece
        return head.decode()


@pytest.fixture
def server():
    with Scripted() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.ended.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def reader():
    return Straight(Patience(connect=2, request=0.3))


def read(reader, server, headers=None):
    into = memoryview(bytearray(LEAST))
    done = reader.read_into(server.url, headers or {}, OFFSET, into)
    assert not done or into == CONTENT[OFFSET : OFFSET + LEAST]
    return done


def test_ranges_come_over_one_connection_until_the_server_closes_it(reader, server):
    server.answers = [GOOD, GOOD, answer(more="Connection: Close\r\n"), GOOD]
    assert all(read(reader, server, {"Authorization": "Bearer t"}) for _ in range(4))
    assert server.connections == 2
    host = server.url.split("/")[2]
    asked = f"Host: {host}\r\nAuthorization: Bearer t\r\nRange: bytes={OFFSET}-{OFFSET + LEAST - 1}"
    assert server.requests == [f"GET /v2/a?b=c HTTP/1.1\r\n{asked}\r\n\r\n"] * 4


def test_a_connection_that_was_closed_meanwhile_is_no_failure(reader, server):
    server.answers = [GOOD, GOOD]
    assert read(reader, server)
    reader._idle[0].shutdown(straight.socket.SHUT_RDWR)
    assert read(reader, server)


@pytest.mark.parametrize(
    "bad",
    [
        answer(503),
        answer(200),
        answer(307, more="Location: http://127.0.0.1:1/\r\n"),
        answer(start=0),
        answer(length=LEAST - 1),
        answer(content=CONTENT[:9]),
        answer(more="Content-Encoding: gzip\r\n"),
        answer(more="Transfer-Encoding: chunked\r\n"),
        b"HTTP/1.0 206 OK\r\n\r\n",
        b"HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 so so\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n",
        b"x" * (1 << 16),
        b"",
        None,
    ],
)
def test_any_other_answer_is_none_and_it_rests_for_a_while(reader, server, monkeypatch, bad):
    server.answers = [] if bad is None else [bad, GOOD]
    assert not read(reader, server)
    asked = server.connections
    assert not read(reader, server)
    assert server.connections == asked
    now = straight.time.monotonic()
    monkeypatch.setattr(straight.time, "monotonic", lambda: now + REST)
    assert read(reader, server) is (bad is not None)


@pytest.mark.parametrize("came", [0, LEAST, LARGE // 2, LARGE - LEAST, LARGE])
def test_much_is_there_as_a_whole_or_not_at_all(reader, server, came):
    content = bytes(range(256)) * (LARGE // 256)
    server.answers = [answer(content=content[:came], length=LARGE)]
    into = memoryview(bytearray(LARGE))
    assert reader.read_into(server.url, {}, OFFSET, into) is (came == LARGE)
    assert came < LARGE or into == content


def test_who_has_to_log_in_may_come_again_at_once(reader, server):
    server.answers = [answer(401), GOOD]
    assert not read(reader, server)
    assert read(reader, server, {"Authorization": "Bearer t"})


def test_a_header_cannot_smuggle_in_a_second_request(reader, server):
    assert not read(reader, server, {"Authorization": "x\r\n\r\nDELETE / HTTP/1.1"})
    assert server.requests == []


def test_what_is_small_or_goes_by_tls_is_not_for_it(reader, server):
    assert not reader.read_into(server.url, {}, 0, memoryview(bytearray(LEAST - 1)))
    assert not reader.read_into(server.url.replace("http", "https"), {}, 0, memoryview(bytearray(LEAST)))
    assert server.connections == 0


def test_names_of_headers_are_in_any_case():
    head = parse_head(b"HTTP/1.1 206\r\nCONTENT-RANGE:bytes 0-9/10\r\nContent-Length:  10\r\nconnection: Keep-Alive")
    assert head.is_range(0, 10)
    assert head.stays_open
    assert not head.is_range(0, 9)


@pytest.mark.parametrize("kind", ["oci", "s3_moto", "s3_seaweedfs"])
def test_real_servers_give_that_answer(servers, monkeypatch, kind):
    backend = getattr(servers, kind)()
    content, key = os.urandom(LARGE), "packs/a.pack" if kind == "oci" else "packs/a b.pack"
    backend.put(key, content)
    assert backend.size(key) == LARGE
    monkeypatch.setattr(s3.obstore, "get", None)
    monkeypatch.setattr(Client, "ask", None)
    for offset, length in ((0, LEAST), (1, LARGE - 1), (LARGE // 2, LEAST), (0, LARGE)):
        into = memoryview(bytearray(length))
        assert backend.read_into(key, offset, into) == length
        assert into == content[offset : offset + length]


def test_where_a_bucket_is_reached_by_a_proxy_its_client_asks(servers, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    assert servers.s3("http://127.0.0.1:2")._straight is None
