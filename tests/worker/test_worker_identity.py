"""What a restored process renews of itself."""

import os
import random
import socket
import sys
import types

import pytest

from chrek_worker import identity


@pytest.fixture
def podinfo(tmp_path):
    (tmp_path / "pod_name").write_text("new-pod\n")
    (tmp_path / "dyn_component").write_text("")
    return str(tmp_path)


def test_variables_that_are_there_tell_of_the_new_pod(podinfo, monkeypatch):
    monkeypatch.setenv("POD_NAME", "old-pod")
    monkeypatch.setenv("HOSTNAME", "old-pod")
    monkeypatch.setenv("DYN_COMPONENT", "kept: the platform says nothing")
    monkeypatch.delenv("POD_UID", raising=False)
    identity.renew_environment(podinfo)
    assert os.environ["POD_NAME"] == "new-pod"
    assert os.environ["HOSTNAME"] == socket.gethostname()
    assert os.environ["DYN_COMPONENT"] == "kept: the platform says nothing"
    assert "POD_UID" not in os.environ


def test_an_address_that_is_not_known_any_more_is_none(podinfo, monkeypatch):
    def unknown(_):
        raise OSError

    monkeypatch.setenv("POD_IP", "10.0.0.1")
    monkeypatch.setattr(identity.socket, "gethostbyname", lambda _: "10.0.0.2")
    identity.renew_environment(podinfo)
    assert os.environ["POD_IP"] == "10.0.0.2"
    monkeypatch.setattr(identity.socket, "gethostbyname", unknown)
    identity.renew_environment(podinfo)
    assert "POD_IP" not in os.environ


def test_each_openssl_takes_bytes_of_the_kernel(tmp_path, monkeypatch):
    seeded = []

    def library(path, mode):
        assert mode == os.RTLD_NOLOAD
        if "gone" in path:
            raise OSError
        return types.SimpleNamespace(RAND_seed=lambda seed, size: seeded.append((path, size, len(seed))))

    monkeypatch.setitem(sys.modules, "_ssl", types.SimpleNamespace(RAND_add=lambda seed, _: seeded.append(("_ssl", len(seed)))))
    monkeypatch.setattr(identity.ctypes, "CDLL", library)
    paths = [
        "/usr/lib/libcrypto.so.3",
        "/usr/lib/libcrypto.so.3",
        "/x/libcrypto-2f3a.so.1.1",
        "/gone/libcrypto.so",
        "/x/libssl.so.3",
    ]
    maps = tmp_path / "maps"
    maps.write_text(
        "".join(f"7f00-7f01 r-xp 00000000 fe:00 12 {path}\n" for path in [*paths, "/x/libcrypto.so.9 (deleted)", "[heap]"])
    )
    identity.renew_openssl(str(maps))
    assert seeded == [("_ssl", 48), ("/usr/lib/libcrypto.so.3", 48, 48), ("/x/libcrypto-2f3a.so.1.1", 48, 48)]
    monkeypatch.undo()
    identity.renew_openssl()  # This process's own.


def test_every_generator_that_is_loaded_is_seeded_anew(monkeypatch):
    seeded = []
    numpy = types.SimpleNamespace(random=types.SimpleNamespace(seed=lambda: seeded.append("numpy")))
    monkeypatch.setitem(sys.modules, "numpy", numpy)
    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(seed=lambda: seeded.append("torch")))
    random.seed(1)
    before = random.random()
    random.seed(1)
    identity.renew_random()
    assert random.random() != before
    assert seeded == ["numpy", "torch"]
