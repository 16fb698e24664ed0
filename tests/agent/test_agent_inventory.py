"""What is recorded of processes at their capture: read from /proc of real ones, summarised within bounds, without secrets."""

import json
import os
import socket
import subprocess
import sys

import pytest

from chrek_agent.container import processes
from chrek_agent.container.inventory import (
    SUMMARY_BYTES,
    Inventory,
    OpenFile,
    ProcessRecord,
    dump_inventory,
    parse_inventory,
    summarise,
)
from chrek_agent.container.masking import mask
from chrek_agent.container.recording import record
from chrek_agent.errors import ArtifactError
from chrek_agent.standalone.telling import inventory_text
from kubectl_chrek.api.checkpoint import Inventory as View

PROGRAM = """
import mmap, os, socket, sys
listener = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(listener.getsockname())
local = socket.socket(socket.AF_UNIX); local.bind("\\0" + sys.argv[1]); local.listen()
shared = mmap.mmap(-1, 1 << 20); shared[:] = b"x" * (1 << 20)
reserved = mmap.mmap(-1, 1 << 24, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, 0)
held = os.memfd_create("kv"), os.pipe(), os.eventfd(1), open(sys.argv[2]), open("/dev/zero")
print(listener.getsockname()[1], flush=True)
sys.stdin.read()
"""


@pytest.fixture
def worker(tmp_path):
    """A process with a bit of everything, and its port."""
    (tmp_path / "data").write_text("x")
    command = [sys.executable, "-c", PROGRAM, f"chrek-{os.getpid()}", str(tmp_path / "data"), "--hf-token", "hush"]
    environment = {"VLLM_USE_V1": "1", "HF_TOKEN": "hush", "PATH": os.environ["PATH"]}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as process:
        port = int(process.stdout.readline())
        yield processes.read_process(process.pid), port
        process.stdin.close()


def test_a_process_as_it_is(worker, tmp_path):
    process, port = worker
    found = record([process]).processes[0]
    opened = {(file.kind, file.target, file.state) for file in found.files}
    assert ("tcp", f"127.0.0.1:{port}", "listening") in opened
    assert any(
        kind == "tcp" and target.endswith(f"-> 127.0.0.1:{port}") and state == "established" for kind, target, state in opened
    )
    assert ("unix", f"@chrek-{os.getpid()}", "listening") in opened
    assert {("file", str(tmp_path / "data"), ""), ("device", "/dev/zero", ""), ("eventfd", "", "")} <= opened
    assert any(kind == "memfd" and "kv" in target for kind, target, _ in opened)
    assert (found.parent, found.threads) == (1, 1)
    assert found.command[0] == sys.executable
    assert found.command[-2:] == ["--hf-token", "***"]
    assert {"HF_TOKEN", "PATH", "VLLM_USE_V1"} <= set(found.variables)
    assert found.values == {"VLLM_USE_V1": "1"}
    assert found.resident["shared"] >= 1 << 20
    assert found.mapped["reserved"] >= 1 << 24
    assert found.mapped["anonymous"] > 0 < found.mapped["file"]
    assert found.mappings > 10
    assert b"hush" not in dump_inventory(Inventory(processes=[found]))


def test_a_process_that_is_gone_is_told_of_as_far_as_is_known(worker):
    process, _ = worker
    gone = processes.Process(pid=2**22 + 1, parent=process.pid, inner=1002, name="gone", state="Z", start=1)
    found = record([process, gone]).processes[1]
    assert (found.pid, found.parent, found.name, found.files, found.command) == (1002, process.inner, "gone", [], [])


def test_a_parent_is_named_as_the_container_counts():
    mine = processes.read_process(os.getpid())
    child = processes.Process(pid=2**22 + 1, parent=mine.pid, inner=77, name="c", state="S", start=1)
    assert record([mine, child]).processes[1].parent == mine.inner


def test_ipv6(monkeypatch):
    try:
        listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("there is no IPv6 here")
    with listener:
        files = record([processes.read_process(os.getpid())]).processes[0].files
        assert ("tcp", f"[::1]:{listener.getsockname()[1]}", "listening") in {
            (file.kind, file.target, file.state) for file in files
        }


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["serve", "--api-key", "abc", "--port", "80"], ["serve", "--api-key", "***", "--port", "80"]),
        (["--hf-token=abc", "HF_TOKEN=abc", "--x=y"], ["--hf-token=***", "HF_TOKEN=***", "--x=y"]),
        (["--tokenizer", "t", "--max-tokens", "5"], ["--tokenizer", "t", "--max-tokens", "5"]),
        (["--password-file", "/f"], ["--password-file", "/f"]),
        (["--api-key", "--port", "80"], ["--api-key", "--port", "80"]),
        (["http://me:secret@host/x@y"], ["http://***@host/x@y"]),
    ],
)  # fmt: skip
def test_secrets_in_command_lines_are_masked(words, shown):
    assert mask(words) == shown


def large(count):
    files = [OpenFile(number=n, kind="file", target=f"/models/{n}/{'d' * 300}") for n in range(count)]
    files += [OpenFile(number=n, kind="tcp", target=f"10.0.0.1:{n} -> 10.0.0.2:{n}", state="established") for n in range(count)]
    files += [OpenFile(number=n, kind=f"\u00fc{n}" * 50, target="") for n in range(count)]
    files.append(OpenFile(number=9, kind="tcp", target="0.0.0.0:8000", state="listening"))
    variables = [f"VARIABLE_{n}" for n in range(count)]
    return Inventory(
        processes=[
            ProcessRecord(
                pid=1000 + n, parent=1, name="w", threads=4, command=["python3", "x" * 5000], resident={"anonymous": 1 << 40},
                mapped={"anonymous": 1 << 41, "reserved": 1 << 45}, mappings=9, files=files, variables=variables, values={},
            )
            for n in range(count)
        ]
    )  # fmt: skip


@pytest.mark.parametrize("count", [0, 1, 20, 200])
def test_a_summary_stays_small_and_says_what_it_leaves_out(count):
    summary = summarise(large(count))
    assert len(json.dumps(summary).encode()) <= SUMMARY_BYTES
    view = View.model_validate(summary)
    assert view.process_count == count
    assert len(view.processes) + view.omitted.get("processes", 0) == count
    if count:
        assert view.sockets[0] == "tcp 0.0.0.0:8000 listening"
        assert view.processes
        assert view.files
        assert view.variables
        assert view.resident == {"anonymous": count << 40}


def test_it_is_read_back_and_nothing_else_is():
    inventory = large(1)
    assert parse_inventory(dump_inventory(inventory)) == inventory
    with pytest.raises(ArtifactError, match="of another version"):
        parse_inventory(b"{}x")


def test_how_it_is_told():
    found = ProcessRecord(
        pid=1001, parent=1, name="w", threads=1, command=["serve", "--port", "80"], resident={"anonymous": 1 << 20},
        mapped={"file": 2 << 20}, mappings=3, variables=["A", "VLLM_X"], values={"VLLM_X": "1"},
        files=[OpenFile(number=3, kind="tcp", target="0.0.0.0:80", state="listening"), OpenFile(number=4, kind="epoll", target="")],
    )  # fmt: skip
    assert inventory_text(Inventory(processes=[found])) == [
        "PROCESS 1001: serve --port 80\n"
        "  resident   1.0 MiB anonymous\n"
        "  mapped     2.0 MiB file in 3 mappings\n"
        "  open       1 epoll, 1 tcp\n"
        "    tcp 0.0.0.0:80 listening\n"
        "  variables  A VLLM_X=1"
    ]
