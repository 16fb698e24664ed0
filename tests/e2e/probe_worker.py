"""A worker that shows whether it is the captured process: a token, a counter, memory, files. Standard library only."""

import argparse
import hashlib
import http.server
import json
import os
import secrets
import signal
import socket
import sys
import threading
import time
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("--mib", type=int, default=16)
parser.add_argument("--port", type=int, default=8000)
parser.add_argument("--never-ready", action="store_true")
args = parser.parse_args()

BEGIN = time.monotonic()
TOKEN = secrets.token_hex(16)
MEMORY = os.urandom(args.mib << 20)
COUNTER = [0]

Path("/chrek-probe").write_text(TOKEN)
Path("/dev/shm/chrek-probe").write_text(TOKEN)
Path("/etc/issue").unlink(missing_ok=True)
KEPT_OPEN = Path("/chrek-probe").open()  # noqa: SIM115 - an open file is part of what is captured


def count() -> None:
    while True:
        COUNTER[0] += 1
        time.sleep(0.01)


def facts() -> dict[str, object]:
    return {
        "token": TOKEN,
        "counter": COUNTER[0],
        "uptime": time.monotonic() - BEGIN,
        "memory": hashlib.sha256(MEMORY).hexdigest(),
        "pid": os.getpid(),
        "hostname": socket.gethostname(),
        "file": Path("/chrek-probe").read_text(),
        "shm": Path("/dev/shm/chrek-probe").read_text(),
        "deleted": not Path("/etc/issue").exists(),
        "marker": Path("/tmp/dynamo-restored").exists(),
    }


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps(facts()).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        if self.path.startswith("/say/"):
            print(self.path[5:], flush=True)

    def log_message(self, *_: object) -> None:
        pass


def leave(*_: object) -> None:
    print("leaving at the signal", flush=True)
    os._exit(7)


signal.signal(signal.SIGTERM, leave)
threading.Thread(target=count, daemon=True).start()
if args.never_ready:
    time.sleep(3600)
print(f"started {TOKEN}", flush=True)
sys.stdout.flush()
http.server.ThreadingHTTPServer(("0.0.0.0", args.port), Handler).serve_forever()
