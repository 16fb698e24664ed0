"""How remote stores are reached: by TLS of an authority of their own, and with what a service account's token is worth."""

import re
import selectors
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from urllib.parse import urlsplit

import pytest

from chrek_agent.store.chunking import CHUNK
from chrek_agent.store.oci.backend import RegistryBackend
from chrek_agent.store.oci.login import Login
from chrek_agent.store.patience import Patience
from chrek_agent.store.refusals import StorageError
from chrek_agent.store.s3 import S3Backend
from chrek_agent.store.s3uploads import Credentials
from chrek_agent.store.where import connect, parse_place
from chrek_operator.admission.certificates import issue
from kubectl_chrek.local import remotes

QUICK = Patience(retries=1, total=5, connect=2, request=5, pause=0.01)
TOKEN = "eyJhbGciOiJSUzI1NiJ9.c2VydmljZS1hY2NvdW50.c2lnbmF0dXJl"


class Tunnel:
    """TLS in front of a server that speaks HTTP; `heard` is what clients sent, as the server got it."""

    def __init__(self, upstream: str, pair_file: str) -> None:
        self.upstream = urlsplit(upstream if "://" in upstream else f"http://{upstream}")
        self.heard = bytearray()
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(pair_file)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.host = f"localhost:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    @staticmethod
    def _for_moto(piece: bytes) -> bytes:
        """Its token service finds in a request's content what AWS's finds in the query too."""
        asked = re.match(rb"POST /\?(Action=AssumeRoleWithWebIdentity\S*) HTTP/1.1\r\n", piece)
        if asked is None:
            return piece
        head = b"POST / HTTP/1.1\r\nhost: sts\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: %d\r\n\r\n"
        return head % len(asked[1]) + asked[1]

    def _serve(self, connection: socket.socket) -> None:
        with ExitStack() as stack, suppress(OSError):
            stack.enter_context(connection)
            client = stack.enter_context(self._context.wrap_socket(connection, server_side=True))
            server = stack.enter_context(socket.create_connection((self.upstream.hostname, self.upstream.port)))
            waiting = stack.enter_context(selectors.DefaultSelector())
            waiting.register(client, selectors.EVENT_READ, server)
            waiting.register(server, selectors.EVENT_READ, client)
            while True:
                for key, _ in waiting.select():
                    piece = key.fileobj.recv(1 << 20)
                    while key.fileobj is client and client.pending():
                        piece += client.recv(1 << 20)
                    if not piece:
                        return
                    if key.fileobj is client:
                        self.heard += piece
                        piece = self._for_moto(piece)
                    key.data.sendall(piece)


@pytest.fixture
def tunnel(tmp_path):
    """Starts TLS before a server; its authority's certificate is in `ca.crt`."""
    pair = issue(["localhost"], datetime.now(UTC))
    (tmp_path / "pair.pem").write_bytes(pair.key + pair.certificate)
    (tmp_path / "ca.crt").write_bytes(pair.authorities)

    @contextmanager
    def start(upstream: str) -> Iterator[Tunnel]:
        found = Tunnel(upstream, str(tmp_path / "pair.pem"))
        try:
            yield found
        finally:
            found.close()

    return start


def exchange(backend):
    """What a store does all day."""
    writer = backend.writer("packs/a.pack")
    for number in range(4):
        writer.write(bytes([number]) * CHUNK)
    writer.close()
    backend.put("h/g/manifest.json", b"{}", if_absent=True)
    assert bytes(backend.read("packs/a.pack", CHUNK, 2)) == b"\1\1"
    assert [entry.key for entry in backend.list("")] == ["h/g/manifest.json", "packs/a.pack"]
    backend.delete("packs/a.pack")
    backend.prune(datetime.now(UTC))


def test_a_bucket_behind_an_authority_of_its_own(servers, tunnel, tmp_path, monkeypatch):
    servers.s3_seaweedfs()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", remotes.ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", remotes.SECRET_KEY)
    with tunnel(servers.seaweedfs) as tls:
        exchange(connect(f"s3://{tls.host}/{remotes.BUCKET}/tls?ca={tmp_path / 'ca.crt'}"))
        monkeypatch.setenv("CHREK_STORAGE_CA", str(tmp_path / "ca.crt"))
        exchange(connect(f"s3://{remotes.BUCKET}/env?endpoint=https://{tls.host}&region=eu-west-1"))
        assert b"/eu-west-1/s3/aws4_request" in tls.heard
        monkeypatch.delenv("CHREK_STORAGE_CA")
        place = parse_place(f"s3://{tls.host}/{remotes.BUCKET}/x")
        with pytest.raises(StorageError, match="its certificate is not trusted"):
            S3Backend(place, credentials=Credentials("key", "secret"), patience=QUICK).size("a")


def test_a_registry_behind_an_authority_of_its_own(servers, tunnel, tmp_path):
    servers.oci()
    with tunnel(servers.registry) as tls:
        exchange(connect(f"oci://{tls.host}/chrek/tls?ca={tmp_path / 'ca.crt'}"))
        with pytest.raises(StorageError, match="its certificate is not trusted"):
            RegistryBackend(parse_place(f"oci://{tls.host}/chrek/tls"), login=Login(), patience=QUICK).size("a")


@pytest.mark.parametrize("location", ["s3://{}/bucket/prefix", "oci://{}/repository"])
def test_nothing_goes_by_plain_http_unasked(servers, location):
    """A server that speaks nothing else gets no request that it could understand, credentials least of all."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        heard = []

        def listen():
            with suppress(OSError):
                while True:
                    with listener.accept()[0] as connection:
                        heard.append(connection.recv(4096))

        threading.Thread(target=listen, daemon=True).start()
        place = parse_place(location.format(f"127.0.0.1:{listener.getsockname()[1]}"))
        if location.startswith("s3"):
            backend = S3Backend(place, credentials=Credentials("key", "secret"), patience=QUICK)
        else:
            backend = RegistryBackend(place, login=Login("user", "password"), patience=QUICK)
        with pytest.raises(StorageError):
            backend.put("a", b"secret")
        listener.shutdown(socket.SHUT_RDWR)
    assert heard
    assert {first[:1] for first in heard} == {b"\x16"}, "not the beginning of TLS"


def test_a_web_identity_is_exchanged_for_credentials(servers, tunnel, tmp_path, monkeypatch):
    servers.s3_moto()
    (tmp_path / "token").write_text(TOKEN)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/chrek-agents")
    with tunnel(servers.moto) as tls:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", f"https://{tls.host}")
        exchange(connect(f"s3://{tls.host}/{remotes.BUCKET}/identity?ca={tmp_path / 'ca.crt'}"))
        said = bytes(tls.heard)
    assert said.count(b"Action=AssumeRoleWithWebIdentity") == 1
    assert TOKEN.encode() in said
    assert b"role%2Fchrek-agents" in said or b"role/chrek-agents" in said
    requests = said.count(b"AWS4-HMAC-SHA256 Credential=")
    assert requests == said.count(b"x-amz-security-token: ") > 5
