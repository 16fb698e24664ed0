"""A worker with secrets, captured into a sealed and signed store: restored as it was, and nobody without the key sees them."""

import secrets
import signal
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from light_container import HASH, Shape, until

from chrek_agent.container import processes
from chrek_agent.errors import KeyMissingError, SignatureError
from chrek_agent.store import protection

WORKER = """
import hashlib, os, signal, time
token = os.environ["HF_TOKEN"]
derived = hashlib.sha256(token.encode()).hexdigest().encode()
weights = bytearray(derived * 20000)
for path in ("/root/.netrc", "/dev/shm/cache"):
    with open(path, "wb") as file:
        file.write(derived * 100)
def tell(*_):
    written = open("/root/.netrc", "rb").read()
    print("holds", hashlib.sha256(bytes(weights) + written + os.environ["HF_TOKEN"].encode()).hexdigest(), flush=True)
signal.signal(signal.SIGUSR1, tell)
tell()
while True:
    time.sleep(0.05)
"""
COMMAND = ["/usr/bin/python3", "-c", WORKER]


@pytest.fixture
def keys(tmp_path, monkeypatch):
    """An agent's environment: a key to seal and one to sign with, and a signature is required."""
    (tmp_path / "current").write_text(secrets.token_hex(32))
    pair = Ed25519PrivateKey.generate()
    (tmp_path / "private.pem").write_bytes(pair.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    monkeypatch.setenv(protection.KEYS, str(tmp_path / "current"))
    monkeypatch.setenv(protection.SIGNING_KEY, str(tmp_path / "private.pem"))
    monkeypatch.setenv(protection.REQUIRED, "true")
    return tmp_path


def told(box):
    return [line for line in box.output().splitlines() if line.startswith("holds ")]


def contents(artifact):
    """All that an artifact holds."""
    for content in (*artifact.manifest.files.values(), *artifact.manifest.memory):
        for chunk in artifact.chunks(content):
            yield bytes(artifact.fetch(chunk))


def test_secrets_are_restored_and_stay_secret(yard, agent, keys, monkeypatch):
    token = f"hf_{secrets.token_hex(20)}"
    derived = sha256(token.encode()).hexdigest()
    hidden = [word.encode() for word in (token, derived, f"HF_TOKEN={token}")]
    shape = Shape(env={"HF_TOKEN": token})
    with yard.source(COMMAND, shape) as box:
        (before,) = until(lambda: told(box), "the worker's account")
        artifact = agent.capture(box)
    with agent.store().open(HASH, artifact.generation, artifact.digest) as found:
        assert found.manifest.memory
        held = b"".join(contents(found))
        assert all(word in held for word in hidden), "the capture does not hold what is looked for below"
    stored = [path for path in Path(agent.config.base_path).rglob("*") if path.is_file()]
    assert {path.suffix for path in stored} == {".json", ".sig", ".pack", ".index"}
    for path in stored:
        content = path.read_bytes()
        assert not [word for word in hidden if word in content], path.name
    assert agent.remains() == []

    with yard.target(COMMAND, shape) as box:
        with monkeypatch.context() as other:
            (keys / "other").write_text(secrets.token_hex(32))
            other.setenv(protection.KEYS, str(keys / "other"))
            with pytest.raises(KeyMissingError, match="which this agent does not have"):
                agent.restore(box, artifact)
        signature = agent.config.base_path / HASH / artifact.generation / "manifest.sig"
        good = signature.read_bytes()
        signature.write_bytes(bytes(64))
        with pytest.raises(SignatureError, match="is not signed by anybody"):
            agent.restore(box, artifact)
        signature.write_bytes(good)
        agent.restore(box, artifact)
        for process in box.others():
            processes.send(process.pid, signal.SIGUSR1)
        assert until(lambda: told(box), "the restored worker's account")[-1] == before
