"""A worker as those of Dynamo are since release 1.3: with --wheel the release's own protocol, else one written from what it does.

Told to be captured, it sleeps and waits; restored, it takes its pod's environment from the context, wakes up, and only then serves.
"""

import asyncio
import http.server
import json
import os
import secrets
import sys
from pathlib import Path

TOKEN = secrets.token_hex(8)
ENGINES = Path(__file__).parents[2] / ".cache/engines"
CONTROL = os.environ.get("DYN_SNAPSHOT_CONTROL_DIR", "")


class Engine:
    """What the protocol pauses and resumes."""

    def __init__(self) -> None:
        self.log: list[str] = []

    async def pause(self) -> None:
        self.log.append("paused")

    async def resume(self) -> None:
        self.log.append("resumed")

    def mark_resumed(self) -> None:
        self.log.append("marked")


async def by_wheel(engine: Engine) -> bool:
    sys.path.append(str(ENGINES))
    from dynamo.common.snapshot import lifecycle, restore_context

    config = lifecycle.SnapshotConfig.from_env()
    if config is None:
        return True
    lifecycle.configure_snapshot_capture_env()
    if not await config.run_lifecycle(engine):
        return False
    restore_context.apply_snapshot_restore_env()
    await lifecycle.elect_and_wake(engine)
    return True


async def by_hand(engine: Engine) -> bool:
    if not CONTROL:
        return True
    directory = Path(CONTROL)
    await engine.pause()
    ready = directory / "ready-for-snapshot"
    ready.write_text("ready")
    while not (left := (directory / "snapshot-complete").exists()) and not (directory / "restore-complete").exists():
        await asyncio.sleep(0.1)
    for name in ("ready-for-snapshot", "snapshot-complete"):
        (directory / name).unlink(missing_ok=True)
    if left:
        return False
    os.environ.update(json.loads((directory / "restore-context.json").read_text())["env"])
    await engine.resume()
    engine.mark_resumed()
    return True


ENGINE = Engine()
if not asyncio.run(by_wheel(ENGINE) if "--wheel" in sys.argv else by_hand(ENGINE)):
    os._exit(0)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps({"token": TOKEN, "log": ENGINE.log, "pod": os.environ.get("POD_NAME")}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


http.server.ThreadingHTTPServer(("", 8000), Handler).serve_forever()
