"""What is captured: `server.py SIZE SEED [apart]`, a Llama of transformers with random weights behind HTTP on port 8000.

GET /health counts the generations asked for, GET /draw takes a number from each generator of random numbers, and POST /generate
continues `prompt` by `count` tokens greedily, `how`: by a CUDA graph of a step (`graph`), by the same step without it (`eager`), or
by transformers' own `generate` (`transformers`).
"""

import contextlib
import json
import random
import sys
import threading
import time
import traceback
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import Any

import numpy
import torch
from decoding import Decoder

from chrek_worker import apart
from chrek_worker.adapters import torch_inprocess
from worker import DEVICE, graphed, load, tell, written

PORT = 8000
ROOM = 256
FIRST = {"prompt": list(range(1, 17)), "count": 16, "how": "graph"}


class Model:
    """One request at a time; while it is still, none."""

    def __init__(self, size: str, *, keep: Callable[[], contextlib.AbstractContextManager[None]]) -> None:
        with keep():
            self._model = load(size)
        self._decoder = Decoder(self._model, ROOM)
        with torch.no_grad():
            self._steps = {"eager": self._decoder.step, "graph": graphed(self._decoder.step)}
        self._turn = threading.Lock()
        self.asked = 0

    def generate(self, prompt: list[int], count: int, how: str) -> dict[str, Any]:
        with self._turn:
            self.asked += 1
            if how == "transformers":
                return {"tokens": written(self._model, prompt, count)}
            return self._decoder.write(prompt, count, self._steps[how])

    def draw(self) -> dict[str, float]:
        with self._turn:
            drawn = {name: torch.rand(1, dtype=torch.float64, device=at).item() for name, at in (("torch", "cpu"), ("gpu", DEVICE))}
            return drawn | {"python": random.random(), "numpy": float(numpy.random.random())}

    def pause(self) -> None:
        self._turn.acquire()

    def go_on(self) -> None:
        self._turn.release()


class Handler(BaseHTTPRequestHandler):
    model: Model

    def do_GET(self) -> None:
        routes = {"/health": lambda: {"asked": self.model.asked}, "/draw": self.model.draw}
        self._answer(routes.get(self.path))

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._answer((lambda: self.model.generate(**asked)) if self.path == "/generate" else None)

    def _answer(self, work: Callable[[], dict[str, Any]] | None) -> None:
        try:
            status, found = (404, {}) if work is None else (200, work())
        except Exception:
            status, found = 500, {"error": traceback.format_exc()}
        body = json.dumps(found).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def main() -> None:
    size, seed, *more = sys.argv[1:]
    begin = time.time()
    torch.manual_seed(int(seed))
    numpy.random.seed(int(seed))
    random.seed(int(seed))
    model = Handler.model = Model(size, keep=apart.weights if "apart" in more else contextlib.nullcontext)
    first = model.generate(**FIRST)
    apart.install(**torch_inprocess.calls(before_capture=model.pause, on_restore=model.go_on))
    ThreadingTCPServer.daemon_threads = ThreadingTCPServer.allow_reuse_address = True
    with ThreadingTCPServer(("127.0.0.1", PORT), Handler) as server:
        tell({"step": 1, "said": first, "at": time.time(), "load": time.time() - begin})
        server.serve_forever()


main()
