"""What the TUI costs: `python benchmarks/tui.py [RUNS] [OUT.json]`.

Start, filter and quit are of the whole program in a terminal of 160 x 50, against a server that holds 10,000 checkpoints as
bytes and then keeps the watch open in silence; once with 100,000. Events and scrolling are of the application without a
terminal: the longest time that its loop did nothing else is the longest time that a key would have waited. Names that end in
`_processor` are seconds of the program's own processor time: those that count where others use the machine as well.
"""

import asyncio
import fcntl
import gc
import json
import multiprocessing
import os
import platform
import pty
import select
import statistics
import struct
import sys
import tempfile
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cli import checkpoint, pages

from kubectl_chrek.cluster import Event
from kubectl_chrek.tui.app import ChrekApp
from kubectl_chrek.tui.widgets.table import VirtualTable

OBJECTS, MANY = 10_000, 100_000
EVENTS_A_SECOND, SECONDS = 500, 10
KEYS = ("1", "7", "3")
COLUMNS, LINES = 160, 50
PATIENCE = 120.0
CONFIG = {
    "clusters": [{"name": "c", "cluster": {"server": "URL"}}],
    "users": [{"name": "u", "user": {}}],
    "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    "current-context": "c",
}


def serve(ready: Any, count: int) -> None:
    """Lists in pages, watches without a change, allows everything; runs until it is ended."""
    answers = pages(count)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if "watch=true" in self.path:
                self._answer(b"")
                time.sleep(3600)
            elif "/version" in self.path:
                self._answer(b'{"gitVersion": "v1.33.0"}')
            else:
                token = self.path.partition("continue=")[2].partition("&")[0]
                self._answer(answers[token])

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self._answer(b'{"status": {"allowed": true}}')

        def _answer(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(body)
            self.wfile.flush()

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    ready.put(server.server_port)
    server.serve_forever()


@contextmanager
def serving(count: int) -> Iterator[Path]:
    """A kubeconfig for a server with so many checkpoints."""
    ready: Any = multiprocessing.Queue()
    process = multiprocessing.Process(target=serve, args=(ready, count), daemon=True)
    process.start()
    try:
        with tempfile.TemporaryDirectory() as directory:
            config = Path(directory) / "kubeconfig"
            config.write_text(json.dumps(CONFIG).replace("URL", f"http://127.0.0.1:{ready.get()}"))
            yield config
    finally:
        process.terminate()
        process.join()


class Terminal:
    """The program in a terminal of its own."""

    def __init__(self, config: Path) -> None:
        self.begin = time.perf_counter()
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            environment = os.environ | {"KUBECONFIG": str(config), "TERM": "xterm-256color", "XDG_CONFIG_HOME": str(config.parent)}
            os.execve(sys.executable, [sys.executable, "-m", "kubectl_chrek", "tui"], environment)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
        self._seen = b""

    def until(self, text: str) -> float:
        """Waits until this has been drawn since the last time; the time."""
        wanted, end = text.encode(), time.perf_counter() + PATIENCE
        while wanted not in self._seen:
            left = end - time.perf_counter()
            if left <= 0 or not select.select([self.fd], [], [], left)[0]:
                raise AssertionError(f"{text!r} was not drawn; the last was {self._seen[-2000:]!r}")
            self._seen += os.read(self.fd, 1 << 16)
        self._seen = b""
        return time.perf_counter()

    def processor(self) -> float:
        """Seconds that the program has used so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def press(self, key: str, text: str) -> float:
        """Seconds from a key to what it leads to."""
        begin = time.perf_counter()
        os.write(self.fd, key.encode())
        return self.until(text) - begin

    def quit(self) -> tuple[float, float]:
        """Seconds from `q` to the end of the process, and its largest resident size in MiB."""
        begin = time.perf_counter()
        os.write(self.fd, b"q")
        while True:
            try:
                if not os.read(self.fd, 1 << 16):
                    break
            except OSError:
                break
        _, status, usage = os.wait4(self.pid, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        return time.perf_counter() - begin, usage.ru_maxrss / 1024


def one_run(config: Path, count: int) -> dict[str, float]:
    """Start, three letters of a filter, quit."""
    terminal = Terminal(config)
    found = {"first_paint": terminal.until("kubectl chrek") - terminal.begin, "first_paint_processor": terminal.processor()}
    found |= {"interactive": terminal.until(f"{count} ") - terminal.begin, "interactive_processor": terminal.processor()}
    terminal.press("/", "words to find")
    found["keystroke"] = max(terminal.press(key, "filter ") for key in KEYS)
    os.write(terminal.fd, b"\r")
    time.sleep(0.5)
    found["quit"], found["peak_mib"] = terminal.quit()
    return found


class Memory:
    """A cluster in memory, with so many checkpoints and so many changes a second."""

    server, context, home = "memory", "", "default"

    def __init__(self, count: int, rate: int) -> None:
        self.texts = [json.dumps(checkpoint(number)).encode() for number in range(count)]
        self.rate = rate
        self.sent = 0

    async def rights(self, _: str) -> frozenset[str]:
        return frozenset()

    async def watch(self, _: str) -> Any:
        for text in self.texts:
            yield Event("ADDED", json.loads(text))
        yield Event("SYNCED", {})
        begin = time.perf_counter()
        while self.rate:
            await asyncio.sleep(0.01)
            due = int((time.perf_counter() - begin) * self.rate)
            while self.sent < due:
                yield Event("MODIFIED", json.loads(self.texts[self.sent * 7919 % len(self.texts)]))
                self.sent += 1
        await asyncio.Event().wait()


async def lags(stop: asyncio.Event) -> list[tuple[float, float]]:
    """Seconds by which the loop was late, again and again, and how much of them it worked."""
    found = []
    while not stop.is_set():
        begin, worked = time.perf_counter(), time.thread_time()
        await asyncio.sleep(0.002)
        found.append((time.perf_counter() - begin - 0.002, time.thread_time() - worked))
    return found


async def headless(count: int, rate: int, keys: tuple[str, ...] = ()) -> dict[str, float]:
    """The application under events, or under keys."""
    source = Memory(count, rate)
    app = ChrekApp(source, namespace="default")  # type: ignore[arg-type]
    async with app.run_test(size=(COLUMNS, LINES)) as pilot:
        while not app.session.checkpoints.synced:
            await asyncio.sleep(0.1)
        await asyncio.sleep(1)
        sent = source.sent
        table, stop = app.screen.query_one(VirtualTable), asyncio.Event()
        watching, begin, processor = asyncio.create_task(lags(stop)), time.perf_counter(), time.process_time()
        for key in keys:
            await pilot.press(key)
        if not keys:
            await asyncio.sleep(SECONDS)
        seconds, processor = time.perf_counter() - begin, time.process_time() - processor
        stop.set()
        late, worked = (sorted(times) for times in zip(*await watching, strict=True))
        assert len(table.rows) == count
    return {
        "events_a_second": (source.sent - sent) / seconds,
        "longest_block": late[-1],
        "longest_block_processor": worked[-1],
        "block_p99": late[int(len(late) * 0.99)],
        "seconds_a_key": seconds / len(keys) if keys else 0.0,
        "processor_share": processor / seconds,
    }


def main() -> None:
    # As the program does at its start.
    gc.set_threshold(100_000, 50, 50)
    runs, load = int(sys.argv[1]) if len(sys.argv) > 1 else 5, os.getloadavg()[0]
    with serving(OBJECTS) as config:
        rows = [one_run(config, OBJECTS) for _ in range(runs)]
    with serving(MANY) as config:
        many = one_run(config, MANY)
    scroll = ("pagedown",) * 20 + ("G", "g") + ("j",) * 20
    result = {
        "at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "machine": {"kernel": platform.release(), "cpus": len(os.sched_getaffinity(0)), "load": load},
        "runs": rows,
        "median": {name: statistics.median(row[name] for row in rows) for name in rows[0]},
        "best": {name: min(row[name] for row in rows) for name in rows[0]},
        "hundred_thousand": many,
        "events": asyncio.run(headless(OBJECTS, EVENTS_A_SECOND)),
        "scroll_100000": asyncio.run(headless(MANY, 0, scroll)),
        "load_at_the_end": os.getloadavg()[0],
    }
    text = json.dumps(result, indent=1)
    print(text)
    if len(sys.argv) > 2:
        Path(sys.argv[2]).write_text(text + "\n")


if __name__ == "__main__":
    main()
