"""What the command line costs, as whole processes: `python benchmarks/cli.py [RUNS] [OUT.json]`.

Commands that need no cluster are told as their time over `python -c pass`, taken in turn with it; `ls` and others run against a
server that holds 10,000 checkpoints, 500 to an answer, as bytes: only the reader is measured. `peak_mib` is its resident size.
"""

import json
import multiprocessing
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

CHREK = [sys.executable, "-m", "kubectl_chrek"]
BARE = [sys.executable, "-c", "pass"]
QUICK = {
    "version": ["version"],
    "hash": ["hash", "--model", "meta-llama/Llama-3-8B", "--framework", "vllm"],
    "--help": ["--help"],
    "gc --help": ["gc", "--help"],
}
LISTS = {"ls": ["ls"], "ls -o wide": ["ls", "-o", "wide"], "ls -o json": ["ls", "-o", "json"], "df": ["df"]}
OBJECTS = 10_000
PAGE = 500
AT = "2026-01-01T00:00:00Z"


def taken(command: list[str]) -> tuple[float, float]:
    """Wall and processor seconds of a whole process: on a shared machine the latter says what is ours."""
    begin = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, code, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(code)
    assert process.returncode == 0, command
    return time.perf_counter() - begin, usage.ru_utime + usage.ru_stime


def quick(runs: int) -> dict[str, dict[str, float]]:
    """Pairs, so that what else the machine does hits both."""
    found = {}
    for name, words in QUICK.items():
        taken([*CHREK, *words])
        pairs = [(taken(BARE), taken([*CHREK, *words])) for _ in range(runs)]
        over = [(ours[0] - bare[0], ours[1] - bare[1]) for bare, ours in pairs]
        found[name] = {
            "bare": statistics.median(bare[0] for bare, _ in pairs),
            "whole": statistics.median(ours[0] for _, ours in pairs),
            "over_bare": statistics.median(wall for wall, _ in over),
            "over_bare_best": min(wall for wall, _ in over),
            "over_bare_cpu": statistics.median(cpu for _, cpu in over),
        }
    return found


def pages(count: int = OBJECTS) -> dict[str, bytes]:
    """What an API server would answer, by the token that asks for it: made beforehand, so that only the reader is measured."""
    items = [checkpoint(number) for number in range(count)]
    found = {}
    for start in range(0, count, PAGE):
        metadata = {"resourceVersion": "1"} | ({"continue": str(start + PAGE)} if start + PAGE < count else {})
        found[str(start) if start else ""] = json.dumps({"items": items[start : start + PAGE], "metadata": metadata}).encode()
    return found


def checkpoint(number: int) -> dict[str, object]:
    """One as large as those that the demo makes."""
    name = f"c-{number:05}"
    fields = {"f:spec": {f"f:{field}": {} for field in ("identity", "job")}, "f:status": {"f:artifact": {}, "f:phase": {}}}
    metadata = {
        "name": name,
        "namespace": "default",
        "uid": f"00000000-0000-0000-0000-{number:012}",
        "resourceVersion": str(number),
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "managedFields": [{"manager": manager, "operation": "Update", "fieldsV1": fields} for manager in ("a", "b", "c")],
    }
    identity = {"model": f"model-{number % 50}", "backendFramework": "vllm", "tensorParallelSize": 1, "pipelineParallelSize": 1}
    container = {
        "name": "main",
        "image": "i",
        "command": ["python3", "-m", "dynamo.vllm"],
        "env": [{"name": "A", "value": "b"}] * 5,
    }
    artifact = {"generation": name, "bytes": number << 20, "files": 9, "phases": {"dump": 1.0, "verify": 0.5}}
    condition = {"type": "JobCompleted", "status": "True", "reason": "JobSucceeded", "message": "", "lastTransitionTime": AT}
    status = {"phase": "Ready", "identityHash": "0" * 16, "artifact": artifact, "conditions": [condition] * 3}
    spec = {"identity": identity | {"maxModelLen": number + 1}, "job": {"podTemplateSpec": {"spec": {"containers": [container]}}}}
    return {"metadata": metadata, "spec": spec, "status": status}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        token = parse_qs(query).get("continue", [""])[0]
        body = self.server.pages[token] if "dynamocheckpoints" in path else b'{"items": [], "metadata": {}}'  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(folder: Path) -> Iterator[Path]:
    """A kubeconfig for a server that holds the checkpoints, in a process of its own."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.pages = pages()  # type: ignore[attr-defined]
    process = multiprocessing.get_context("fork").Process(target=server.serve_forever, daemon=True)
    process.start()
    config = {
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "c",
    }
    path = folder / "kubeconfig"
    path.write_text(json.dumps(config))
    try:
        yield path
    finally:
        process.terminate()
        process.join()


def lists(kubeconfig: Path, runs: int) -> dict[str, dict[str, float]]:
    found = {}
    for name, words in LISTS.items():
        command = [*CHREK, *words, "--kubeconfig", str(kubeconfig)]
        taken(command)
        times = [taken(command) for _ in range(runs)]
        wall, cpu = ([each[part] for each in times] for part in (0, 1))
        found[name] = {
            "whole": statistics.median(wall),
            "best": min(wall),
            "cpu": statistics.median(cpu),
            "peak_mib": peak(command),
        }
    return found


def peak(command: list[str]) -> float:
    """The process's largest resident size, in MiB."""
    code = "import resource,subprocess,sys; subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True); "
    code += "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, check=True)
    return int(done.stdout) / 1024


def measure(runs: int) -> dict[str, object]:
    fast = quick(runs)
    with tempfile.TemporaryDirectory(prefix="chrek-bench-") as folder, serving(Path(folder)) as kubeconfig:
        slow = lists(kubeconfig, runs)
    return {
        "at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "machine": {"kernel": platform.release(), "cpus": len(os.sched_getaffinity(0)), "python": platform.python_version()},
        "runs": runs,
        "over_bare_python": fast,
        f"of_{OBJECTS}_checkpoints": slow,
    }


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 11
    result = measure(runs)
    text = json.dumps(result, indent=1)
    print(text)
    if len(sys.argv) > 2:
        Path(sys.argv[2]).write_text(text + "\n")


if __name__ == "__main__":
    main()
