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
