"""Servers that answer as engines do, as far as the adapters ask.

Routes and bodies are read off the sources of vLLM 0.33.0 and SGLang 0.5.23, as their wheels hold them, and of trtllm-serve.
Standard library only: `recorded_engines.py NAME` serves one on port 8000, for a container.
"""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

NOT_FOUND = (404, {"detail": "Not Found"})
TEXT = " Paris. The capital of Germany is Berlin."
LOGPROBS = [-0.25, -1.5]


class Engine:
    """One server on loopback; `asked` holds what it was asked, in order, `sent` that with the body of each."""

    owner = ""

    def __init__(self, address=("127.0.0.1", 0)):
        self.asked, self.sent, self.text, self.key, self.broken, self.likely = [], [], TEXT, "", {}, LOGPROBS
        engine = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length)) if length else None
                url = urlsplit(self.path)
                engine.asked.append(f"{self.command} {self.path}")
                engine.sent.append((f"{self.command} {self.path}", body))
                authorized = engine.key in ("", (self.headers.get("Authorization") or "").removeprefix("Bearer "))
                if url.path == "/asked":
                    engine.broken["/asked"] = (200, list(engine.asked))
                found = engine.broken.get(url.path) or engine.answer(
                    f"{self.command} {url.path}", dict(parse_qsl(url.query)), body, authorized=authorized
                )
                content = b"" if found[1] is None else json.dumps(found[1]).encode()
                self.send_response(found[0])
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def do_POST(self):
                self.do_GET()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(address, Handler)
        self.port = self.server.server_port
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def answer(self, route, query, body, *, authorized):
        return NOT_FOUND

    @property
    def said(self):
        """What the adapters of the OpenAI routes record of it."""
        told = {"logprobs of POST /v1/completions": json.dumps(self.likely)} if self.likely else {}
        return {"GET /health": "200", "POST /v1/completions": self.text, **told}

    def models(self):
        return 200, {"object": "list", "data": [{"id": "the-model", "object": "model", "owned_by": self.owner}]}

    def completion(self, body):
        assert body["model"] == "the-model"
        assert body["temperature"] == 0
        if body.get("logprobs") and not self.likely:
            return 400, {"error": "logprobs are off"}
        likely = {"token_logprobs": self.likely, "tokens": [" Paris", "."]} if body.get("logprobs") else None
        choice = {"index": 0, "text": self.text, "logprobs": likely, "finish_reason": "length"}
        return 200, {"object": "text_completion", "choices": [choice]}


class Vllm(Engine):
    """`developing`: VLLM_SERVER_DEV_MODE=1."""

    owner = "vllm"

    def __init__(self, *address, developing=False):
        self.developing, self.sleeping, self.paused = developing, False, False
        super().__init__(*address)

    def answer(self, route, query, body, *, authorized):
        if route.split()[1].startswith("/v1") and not authorized:
            return 401, {"error": "Unauthorized"}
        if route == "GET /health":
            return 200, None
        if route == "GET /v1/models":
            return self.models()
        if route == "POST /v1/completions":
            return (503, {"error": "paused"}) if self.sleeping or self.paused else self.completion(body)
        return self.develop(route, query) if self.developing else NOT_FOUND

    def develop(self, route, query):
        if route == "POST /sleep":
            assert query == {"level": "1", "mode": "wait"}
            self.sleeping = True
            return 200, {"status": "sleeping", "level": 1}
        if route == "POST /wake_up":
            self.sleeping = False
            return 200, {"status": "awake", "tags": None}
        if route == "GET /is_sleeping":
            return 200, {"is_sleeping": self.sleeping}
        if route in ("POST /pause", "POST /resume"):
            self.paused = route == "POST /pause"
            return 200, {"status": "paused" if self.paused else "resumed"}
        return NOT_FOUND


class Sglang(Engine):
    owner = "sglang"

    def __init__(self, *address):
        self.paused, self.released = False, []
        super().__init__(*address)

    def answer(self, route, query, body, *, authorized):
        if route == "GET /health":
            return 200, None
        if not authorized:
            return 401, {"error": "Unauthorized"}
        if route == "GET /v1/models":
            return self.models()
        if route == "POST /generate":
            assert body["sampling_params"]["temperature"] == 0
            return 200, {"text": self.text, "meta_info": {"id": "x"}}
        if route in ("POST /pause_generation", "POST /continue_generation"):
            self.paused = "pause" in route
            return 200, {"message": "Generation paused successfully.", "status": "ok"}
        if route == "POST /release_memory_occupation":
            assert self.paused, "release_memory_occupation should be called only when server is idle."
            self.released += body["tags"]
            return 200, None
        if route == "POST /resume_memory_occupation":
            for tag in body["tags"]:
                self.released.remove(tag)
            return 200, None
        return NOT_FOUND


class Trtllm(Engine):
    owner = "tensorrt_llm"

    def answer(self, route, query, body, *, authorized):
        if route in ("POST /release_memory", "POST /resume_memory"):
            return 500, None  # An assertion in the server: AsyncLLM only.
        routes = {"GET /health": lambda: (200, None), "GET /v1/models": self.models}
        if route == "POST /v1/completions":
            return self.completion(body)
        return routes.get(route, lambda: NOT_FOUND)()


ENGINES = {"vllm": Vllm, "sglang": Sglang, "trtllm": Trtllm, "plain": Engine}

if __name__ == "__main__":
    address = ("0.0.0.0", 8000)
    ENGINES[sys.argv[1]](address, **({"developing": True} if sys.argv[1] == "vllm" else {})).thread.join()
