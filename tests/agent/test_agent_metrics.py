"""Metrics, health and logs: what operators of a cluster see of an agent."""

import asyncio
import json
import logging
import os
import sys

import pytest

from chrek_agent.telemetry.health import serve
from chrek_agent.telemetry.logs import FIELDS, JsonFormatter, configure, prune
from chrek_agent.telemetry.metrics import Metrics
from chrek_agent.telemetry.operations import Operations
from kubectl_chrek.api.errors import UsageError


async def ask(port, request):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request.encode())
    answer = (await reader.read()).decode()
    writer.close()
    await writer.wait_closed()
    head, _, body = answer.partition("\r\n\r\n")
    return int(head.split()[1]), body


async def test_what_the_server_answers():
    metrics, trouble = Metrics("node-1"), ["store: full"]
    metrics.cold("Incompatible")
    async with serve("127.0.0.1:0", metrics, lambda: trouble[0]) as port:
        assert await ask(port, "GET /healthz HTTP/1.1\r\n\r\n") == (200, "ok\n")
        assert await ask(port, "GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n") == (503, "store: full\n")
        trouble[0] = ""
        assert await ask(port, "GET /readyz?verbose HTTP/1.1\r\n\r\n") == (200, "ok\n")
        status, body = await ask(port, "GET /metrics HTTP/1.1\r\n\r\n")
        assert status == 200
        assert 'chrek_cold_starts_total{cause="Incompatible"} 1.0' in body
        assert 'node="node-1"' in body
        assert (await ask(port, "GET /other HTTP/1.1\r\n\r\n"))[0] == 404
        assert (await ask(port, "POST /metrics HTTP/1.1\r\n\r\n"))[0] == 405


async def test_garbage_harms_nobody():
    async with serve("127.0.0.1:0", Metrics("n"), lambda: "") as port:
        assert (await ask(port, "\x00\xff\r\n\r\n"))[0] == 405
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"x" * 70000)
        writer.write_eof()
        with pytest.raises((ConnectionError, AssertionError)):
            assert await reader.read()
        writer.close()
        assert (await ask(port, "GET /healthz HTTP/1.1\r\n\r\n"))[0] == 200


@pytest.mark.parametrize("address", ["nonsense", "127.0.0.1:http", "127.0.0.1"])
async def test_an_address_that_is_none(address):
    with pytest.raises(UsageError, match="is no address to listen at"):
        async with serve(address, Metrics("n"), lambda: ""):
            pass


async def test_an_address_that_is_taken():
    async with serve("127.0.0.1:0", Metrics("n"), lambda: "") as port:
        with pytest.raises(UsageError, match="cannot listen at"):
            async with serve(f"127.0.0.1:{port}", Metrics("n"), lambda: ""):
                pass


def test_what_is_counted():
    metrics = Metrics("n")
    metrics.operation("restore", 2.0, 8 << 30, {"criu": 1.5, "unaccounted": 0.5}, {"criu": 8 << 30})
    metrics.operation("capture", 4.0, 8 << 30, {"dump": 4.0}, {})
    metrics.capture_failed()
    metrics.died()
    metrics.verified("ok")
    metrics.watching("checkpoints", connected=True)
    store = {"freeBytes": 5, "storedBytes": 7, "logicalBytes": None, "type": "directory", "artifacts": 3}
    checks = [{"name": "criu", "verdict": "ok"}, {"name": "store", "verdict": "fail"}]
    metrics.node({"store": store, "operations": [{"kind": "capture"}], "checks": checks})

    def value(name, **labels):
        return metrics.registry.get_sample_value(f"chrek_{name}", labels)

    assert (value("restores_total", result="restored"), value("restores_total", result="died")) == (1, 1)
    assert (value("captures_total", result="captured"), value("captures_total", result="failed")) == (1, 1)
    assert value("bytes_per_second", operation="restore") == (8 << 30) / 2
    assert value("bytes_total", operation="capture") == 8 << 30
    assert value("phase_seconds_sum", operation="restore", phase="unaccounted") == 0.5
    assert value("phase_bytes_total", operation="restore", phase="criu") == 8 << 30
    assert value("verifications_total", result="ok") == 1
    assert value("watch_connected", resource="checkpoints") == 1
    assert (value("store_bytes", kind="free"), value("store_bytes", kind="stored")) == (5, 7)
    assert value("store_bytes", kind="logical") is None
    assert value("store_artifacts") == 3
    assert (value("operations_running", operation="capture"), value("operations_running", operation="restore")) == (1, 0)
    assert (value("check_ok", check="criu"), value("check_ok", check="store")) == (1, 0)


def test_operations_are_listed_while_they_run():
    operations = Operations()
    with operations.running("capture", "ns", "cp", "p") as operation:
        assert operations.changed.is_set()
        operation.report("dump", 3, 7)
        (listed,) = operations.status()
        assert (listed["kind"], listed["step"], listed["bytesDone"], listed["bytesTotal"]) == ("capture", "dump", 3, 7)
        assert operation.step == "dump"
        operations.changed.clear()
    assert operations.status() == []
    assert operations.changed.is_set()


def record(**extra):
    made = logging.LogRecord("chrek_agent.tasks.targets", logging.INFO, "x.py", 1, "pod %s", ("p",), None)
    made.__dict__.update(extra)
    return made


def test_a_json_line_carries_phases():
    line = json.loads(JsonFormatter().format(record(**{FIELDS: {"phases": {"criu": 1.0, "unaccounted": 0.1}}})))
    assert (line["level"], line["logger"], line["message"]) == ("info", "chrek_agent.tasks.targets", "pod p")
    assert line["phases"] == {"criu": 1.0, "unaccounted": 0.1}
    assert line["time"].endswith("+00:00")


def test_a_json_line_carries_an_exception():
    try:
        raise ValueError("why")
    except ValueError:
        line = json.loads(JsonFormatter().format(record(exc_info=sys.exc_info())))
    assert "ValueError: why" in line["exception"]


@pytest.mark.parametrize("style", ["text", "json"])
def test_one_handler_whatever_was_there(style, monkeypatch):
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(root, "level", logging.WARNING)
    configure(style, verbose=True)
    (handler,) = root.handlers
    assert isinstance(handler.formatter, JsonFormatter) is (style == "json")
    assert root.level == logging.DEBUG


def test_the_newest_logs_are_kept(tmp_path):
    for number in range(5):
        (tmp_path / f"restore-{number}").mkdir()
        (tmp_path / f"restore-{number}" / "restore.log").write_text("x")
        os.utime(tmp_path / f"restore-{number}", (number, number))
    (tmp_path / "file").touch()
    prune(tmp_path, keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "restore-3", "restore-4"]
    prune(tmp_path / "missing")
