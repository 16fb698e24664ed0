"""A worker that keeps some of its memory apart, and that can be made to notice that it is a copy.

With --torch it serves a small model of the system's torch, and draws from its generator.
"""

import http.server
import json
import os
import random
import secrets
import socket
import ssl
import sys
import threading
import zlib

sys.path.append("/chrek/chrek_worker.pyz")
from chrek_worker import apart

BORN_AS = socket.gethostname()
TOKEN = secrets.token_hex(8)
ssl.RAND_bytes(8)  # OpenSSL's generator is seeded before the capture, as that of a server with TLS.
FICKLE = "--fickle" in sys.argv
WEIGHTS = [1, 2, 3]
LARGE = apart.buffer(5 << 20)
LARGE[:] = b"weights!" * (len(LARGE) // 8)

if "--torch" in sys.argv:
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(7)
    MODEL = torch.nn.Linear(64, 64)

    def answer() -> object:
        return MODEL(torch.ones(64)).tolist()

    def draw() -> float:
        return float(torch.rand(1))
else:
    random.seed(7)

    def answer() -> object:
        return [TOKEN, sum(WEIGHTS)]

    def draw() -> float:
        return random.random()


apart.install(before_capture=WEIGHTS.clear, on_restore=lambda: WEIGHTS.extend((1, 2, 4)))


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        copied = socket.gethostname() != BORN_AS
        if copied and "--hang" in sys.argv:
            print("asked", flush=True)
            threading.Event().wait()
        well = not (copied and FICKLE)
        body = json.dumps(
            {
                "token": TOKEN,
                "answer": answer(),
                "random": [draw(), ssl.RAND_bytes(8).hex()] if self.path == "/" else None,
                "pod": os.environ["POD_NAME"],
                "apart": zlib.crc32(LARGE),
            }
        ).encode()
        self.send_response(200 if well else 500)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


http.server.ThreadingHTTPServer(("0.0.0.0", 8000), Handler).serve_forever()
